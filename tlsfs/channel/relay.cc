// SPDX-License-Identifier: MIT
#include "channel/relay.h"

#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <tuple>

#include "channel/linger.h"

namespace tlsfs {
namespace {

using std::chrono::milliseconds;
using Outcome = Transfer::Outcome;

// The answer to a small message comes within this time where both ends are near.
constexpr std::chrono::microseconds kAwake{30};
constexpr const char* kTakesNothing = "plain side: takes nothing more";
constexpr auto kEnds = static_cast<std::uint32_t>(EPOLLHUP) | static_cast<std::uint32_t>(EPOLLERR);

// One a thread: bytes only pass through.
std::span<std::byte> piece_buffer() {
    thread_local const auto buffer = std::make_unique_for_overwrite<std::byte[]>(Relay::kPiece);
    return {buffer.get(), Relay::kPiece};
}

std::atomic_flag somebody_is_awake;

}  // namespace

Relay::Relay(Reactor& reactor, std::unique_ptr<RecordStream> stream,
             std::weak_ptr<Listener> listener)
    : reactor_(reactor), listener_(std::move(listener)), stream_(std::move(stream)) {}

Relay::~Relay() {
    reactor_.cancel(progress_timer_);
}

bool Relay::begin(PlainSide plain) {
    {
        const std::scoped_lock guard(lock_);
        if (begun_ || dropped_) return false;
        begun_ = true;
        plain_ = std::move(plain);
        const ByteStream& transport = stream_->transport();
        read_watch_ = Reactor::Watch(reactor_, transport.read_fd(), weak_from_this());
        if (!transport.one_fd()) {
            write_watch_ = Reactor::Watch(reactor_, transport.write_fd(), weak_from_this());
        }
        if (plain_.kind() != PlainSide::Kind::file) {
            const ByteStream& end = plain_.stream();
            plain_read_watch_ = Reactor::Watch(reactor_, end.read_fd(), weak_from_this());
            if (!end.one_fd()) {
                plain_write_watch_ = Reactor::Watch(reactor_, end.write_fd(), weak_from_this());
            }
        }
        last_moved_ = Reactor::Clock::now();
        watch_progress();
    }
    // Not by this thread, which may hold a lock of the listener's.
    work_later();
    return true;
}

void Relay::work_later() {
    reactor_.post([weak = weak_from_this()] {
        if (const auto relay = weak.lock()) relay->work_on(true);
    });
}

void Relay::set_idle_limit(milliseconds limit) {
    const std::scoped_lock guard(lock_);
    idle_limit_ = limit;
    last_moved_ = Reactor::Clock::now();
    watch_progress();
}

void Relay::ready(int fd) {
    {
        const std::scoped_lock guard(lock_);
        for (Reactor::Watch* watch :
             {&read_watch_, &write_watch_, &plain_read_watch_, &plain_write_watch_}) {
            if (watch->fd() == fd) watch->fired();
        }
    }
    work_on(true);
}

void Relay::work() {
    work_on(false);
}

void Relay::work_on(bool awake) {
    {
        const std::scoped_lock guard(lock_);
        again_ = true;
        if (std::exchange(working_, true)) return;  // whoever works here sees again_
    }
    const auto self = shared_from_this();
    bool moved_at_all = false;
    for (int rounds = 0;; ++rounds) {
        std::unique_lock guard(lock_);
        again_ = false;
        const Moved moved = step();
        const bool changed = std::exchange(changed_, false);
        guard.unlock();
        if (const auto listener = moved.plain || changed ? listener_.lock() : nullptr) {
            if (moved.plain) listener->plain_moved();
            if (changed) listener->channel_changed();
        }
        moved_at_all = moved_at_all || moved.any;
        if (moved.any && rounds < kRounds) continue;
        if (!moved.any && awake && std::exchange(moved_at_all, false) && stay_awake()) continue;
        guard.lock();
        if (again_ && rounds < kRounds) continue;
        working_ = false;
        if (again_ || moved.any) work_later();  // others have their turn first
        rearm();
        return;
    }
}

// Waits for a moment, unless there is other work for this thread. True: there is something to do
// here.
bool Relay::stay_awake() {
    std::array<pollfd, 3> fds{};
    {
        const std::scoped_lock guard(lock_);
        if (dropped_ || plain_.kind() == PlainSide::Kind::file ||
            somebody_is_awake.test_and_set()) {
            return false;
        }
        fds = {pollfd{undelivered_.empty() ? stream_->transport().read_fd() : -1, POLLIN, 0},
               pollfd{out_ == Out::open && stream_->writable() ? plain_.stream().read_fd() : -1,
                      POLLIN, 0},
               pollfd{reactor_.fd(), POLLIN, 0}};
    }
    const auto end = Reactor::Clock::now() + kAwake;
    int ready = 0;
    while ((ready = poll(fds.data(), fds.size(), 0)) == 0 && Reactor::Clock::now() < end)
        sched_yield();
    somebody_is_awake.clear();
    return ready > 0 && fds[2].revents == 0;
}

Relay::Moved Relay::step() {
    Moved moved;
    if (begun_) {
        moved |= outward();
        moved |= inward();
        look_for_end();
        if (moved.any) last_moved_ = Reactor::Clock::now();
    }
    const bool both_closed = out_ == Out::over && ((gone_ && !awaits_peer_) || in_ == In::closed);
    if (!dropped_ && (in_ == In::failed || both_closed)) drop_transport();
    if (is_over()) close_plain(false);
    return moved;
}

Relay::Moved Relay::outward() {
    Moved moved;
    if (dropped_) return moved;
    if (const std::size_t before = stream_->unsent(); before > 0) {
        stream_->flush();
        moved.any = stream_->unsent() < before;
    }
    // What broke is for inward to find out, after the bytes that came before.
    if (stream_->write_error()) end_outward(false);
    if (out_ == Out::over || !stream_->writable()) return moved;
    const auto buffer = piece_buffer();
    const Transfer got = plain_.read(buffer);
    switch (got.outcome) {
        case Outcome::bytes:
            std::ignore = stream_->write(buffer.first(got.count));  // remembers its error
            return {true, true};
        case Outcome::would_block:
            if (out_ == Out::closing || gone_) end_outward(true);
            return moved;
        case Outcome::failed:
            gone_ = true;
            break;
        case Outcome::end_of_file:
            break;
    }
    if (!plain_.complete()) why_over_ = "plain side: reset";
    end_outward(plain_.complete());
    return {true, true};
}

Relay::Moved Relay::inward() {
    Moved moved;
    if (!undelivered_.empty() && deliver()) moved = {true, true};
    if (!undelivered_.empty()) return moved;
    if (in_ == In::open && !dropped_) moved |= receive();
    if (in_ != In::open && undelivered_.empty() && !delivered_end_ && deliver_end()) {
        delivered_end_ = true;
        changed_ = true;
        moved = {true, true};
    }
    return moved;
}

// True if the plain side took something.
bool Relay::deliver() {
    const std::size_t before = undelivered_.size();
    const auto rest = undelivered_.bytes();
    const Transfer sent = gone_ ? Transfer{Outcome::failed, 0, EPIPE} : plain_.write(rest);
    if (sent.outcome == Outcome::bytes) {
        undelivered_.consume(sent.count);
    } else if (sent.outcome != Outcome::would_block) {
        plain_broke(sent.error);
        undelivered_.consume(before);
    }
    return undelivered_.size() < before;
}

Relay::Moved Relay::receive() {
    const auto buffer = piece_buffer();
    Step got = stream_->read(buffer);
    switch (got.outcome) {
        case Step::Outcome::done:
            give_to_program(buffer.first(got.count));
            return {true, true};
        case Step::Outcome::want_input:
            if (stream_->write_error()) fail(*stream_->write_error());
            return {};
        case Step::Outcome::closed:
            in_ = In::closed;
            break;
        case Step::Outcome::failed:
            fail(std::move(got.error));
            break;
    }
    return {true, false};
}

void Relay::give_to_program(std::span<const std::byte> plaintext) {
    // Taken and discarded: a peer that is stuck in writing would not read what is still to be sent.
    if (gone_) {
        if (std::exchange(awaits_peer_, false)) why_over_ = kTakesNothing;
        return;
    }
    const Transfer sent = plain_.write(plaintext);
    if (sent.outcome == Outcome::bytes) plaintext = plaintext.subspan(sent.count);
    if (sent.outcome == Outcome::bytes || sent.outcome == Outcome::would_block) {
        undelivered_.append(plaintext);
    } else {
        plain_broke(sent.error);
    }
}

// It takes nothing any more. What a data socket's program wrote is still read, up to its end; of a
// descriptor that was given we know no more than that it is broken.
void Relay::plain_broke(int code) {
    if (!gone_ && plain_.kind() == PlainSide::Kind::given) {
        why_over_ = fmt::format("plain side: {}", std::strerror(code));
        end_outward(false);
    }
    gone_ = true;
}

// True when the program can see it.
bool Relay::deliver_end() {
    if (gone_) return true;
    if (in_ == In::closed || plain_.kind() == PlainSide::Kind::file) {
        plain_.end_writing();
        return true;
    }
    // Who watches knows the cause before the program sees its effect.
    if (!std::exchange(told_failure_, true)) {
        changed_ = true;
        work_later();
        return false;
    }
    // A reset throws away what the program's receive queue has not got yet.
    if (!plain_.delivered()) {
        look_again_later();
        return false;
    }
    close_plain(true);
    gone_ = true;
    return true;
}

void Relay::end_outward(bool with_close_notify) {
    if (out_ == Out::over) return;
    out_ = Out::over;
    changed_ = true;
    if (with_close_notify && !stream_->write_error()) {
        stream_->close();
    } else {
        plain_.refuse_input();
    }
}

void Relay::fail(Error error) {
    in_ = In::failed;
    alert_sent_ = true;
    if (!failure_) failure_ = std::move(error);
    end_outward(false);
    changed_ = true;
}

// A program that has gone tells nothing through a read that is not made.
void Relay::look_for_end() {
    const bool reads = out_ == Out::open && !dropped_ && stream_->writable();
    if (gone_ || reads || plain_.kind() == PlainSide::Kind::file || !plain_.valid()) return;
    const auto going = plain_.going();
    gone_ = going != PlainSide::Going::stays;
    if (plain_.kind() != PlainSide::Kind::given || going != PlainSide::Going::broken) return;
    if (in_ != In::open) return;
    // Nobody reads the pipe, which is no matter while there is nothing to put into it.
    awaits_peer_ = !plain_.stream().one_fd() && !dropped_ && undelivered_.empty();
    if (!awaits_peer_) why_over_ = kTakesNothing;
}

// What is encrypted already goes out without us. The rest of the stream is kept for `peer` and
// `stats`.
void Relay::drop_transport() {
    dropped_ = true;
    changed_ = true;
    read_watch_.reset();
    write_watch_.reset();
    stream_->give_up();
    auto left = stream_->detach();
    linger(reactor_, std::move(left.transport), std::move(left.unsent), alert_sent_);
    watch_progress();
}

void Relay::close_plain(bool with_reset) {
    plain_read_watch_.reset();
    plain_write_watch_.reset();
    if (with_reset) {
        plain_.reset();
    } else {
        // What the program wrote behind the end of its half. Unread, it would make a reset of this
        // close, and destroy what is on its way to the program.
        plain_.discard_input();
    }
    plain_.close();
}

bool Relay::is_over() const {
    if (!dropped_ || plain_.kind() == PlainSide::Kind::file) return false;
    return gone_ || (delivered_end_ && out_ == Out::over);
}

void Relay::look_again_later() {
    reactor_.after(pause_, [weak = weak_from_this()] {
        if (const auto relay = weak.lock()) relay->work();
    });
    pause_ = std::min(2 * pause_, kLongestPause);
}

void Relay::watch_progress() {
    reactor_.cancel(std::exchange(progress_timer_, 0));
    if (gone_ && gone_since_ == Reactor::Clock::time_point{}) gone_since_ = Reactor::Clock::now();
    const auto limit = gone_ ? kLongestStill : idle_limit_;
    if (dropped_ || limit == milliseconds{0}) return;
    const auto left =
        std::chrono::ceil<milliseconds>(still_since() + limit - Reactor::Clock::now());
    progress_timer_ =
        reactor_.after(std::max(left, milliseconds{1}),
                       [weak = weak_from_this(), kept = released_ ? shared_from_this() : nullptr] {
                           if (const auto relay = weak.lock()) relay->check_progress();
                       });
}

void Relay::check_progress() {
    const auto now = Reactor::Clock::now();
    bool stuck = false;
    {
        const std::scoped_lock guard(lock_);
        progress_timer_ = 0;
        const auto limit = gone_ ? kLongestStill : idle_limit_;
        stuck = limit > milliseconds{0} && now - still_since() >= limit;
        stuck = stuck || (gone_ && now - gone_since_ >= kLongestKept);
        if (!stuck) watch_progress();
    }
    if (stuck) end(Error{ETIMEDOUT, "nothing moved for too long"});
}

void Relay::rearm() {
    if (gone_ && !dropped_ && gone_since_ == Reactor::Clock::time_point{}) watch_progress();
    if (!begun_) return;
    const auto wants = [](bool wanted, std::uint32_t event) { return wanted ? event : 0U; };
    if (!dropped_) {
        const bool receives = in_ == In::open && undelivered_.empty() && stream_->accepts_input();
        const std::uint32_t in = wants(receives, EPOLLIN);
        const std::uint32_t out = wants(stream_->unsent() > 0, EPOLLOUT);
        const bool one = stream_->transport().one_fd();
        read_watch_.arm(one ? in | out : in);
        write_watch_.arm(out);
    }
    if (!plain_.valid()) return;
    if (gone_) {  // it would wake us for ever
        plain_read_watch_.reset();
        plain_write_watch_.reset();
        return;
    }
    const bool reads = out_ == Out::open && !dropped_ && stream_->writable();
    const std::uint32_t in = wants(reads, EPOLLIN);
    const std::uint32_t out = wants(!undelivered_.empty(), EPOLLOUT);
    if (plain_.stream().one_fd()) {
        plain_read_watch_.arm(in | out | kEnds);
    } else {
        plain_read_watch_.arm(in);
        plain_write_watch_.arm(out | kEnds);
    }
}

void Relay::close() {
    {
        const std::scoped_lock guard(lock_);
        if (out_ == Out::open) out_ = Out::closing;
        if (!begun_) end_outward(true);
    }
    work();
}

void Relay::end(std::optional<Error> failure) {
    {
        const std::scoped_lock guard(lock_);
        end_outward(false);
        if (in_ == In::open) in_ = In::failed;
        if (!failure_) failure_ = std::move(failure);
        if (!failure_) why_over_ = "hangup";
        undelivered_.consume(undelivered_.size());
        if (begun_ && !gone_) {
            if (plain_.kind() == PlainSide::Kind::file) {
                plain_.end_writing();
            } else {
                close_plain(true);
            }
        }
        gone_ = delivered_end_ = changed_ = true;
    }
    work();
}

void Relay::release() {
    {
        const std::scoped_lock guard(lock_);
        gone_ = delivered_end_ = true;
        undelivered_.consume(undelivered_.size());
        if (!begun_) end_outward(true);
        released_ = true;
        watch_progress();
    }
    work();
}

void Relay::let_go() {
    {
        const std::scoped_lock guard(lock_);
        if (in_ == In::closed && delivered_end_) {
            end_outward(true);
            gone_ = true;
        }
        awaits_peer_ = false;
        if (gone_) return work_later();
    }
    end({});
}

Result<> Relay::update_keys() {
    const std::scoped_lock guard(lock_);
    if (dropped_ || out_ == Out::over) return failure(EPIPE, "keyupdate: the connection is closed");
    auto updated = stream_->update_keys();
    rearm();
    return updated;
}

ChannelState Relay::look() const {
    const std::scoped_lock guard(lock_);
    ChannelState state;
    state.read_over = in_ != In::open && delivered_end_;
    state.write_over = out_ == Out::over;
    state.over = is_over();
    state.failure = failure_;
    state.why_over = why_over_;
    if (!failure_ && stream_->write_error()) state.failure = stream_->write_error();
    return state;
}

void Relay::add_stats(Stats& stats) const {
    const std::scoped_lock guard(lock_);
    stream_->add_stats(stats);
}

std::optional<ByteStream::Addresses> Relay::addresses() const {
    const std::scoped_lock guard(lock_);
    if (dropped_) return std::nullopt;
    return stream_->transport().tcp_addresses();
}

std::string Relay::peer_chain() const {
    const std::scoped_lock guard(lock_);
    return stream_->peer_chain();
}

}  // namespace tlsfs
