// SPDX-License-Identifier: MIT
// The plain side, and what the relay tells of it.
#include <fmt/format.h>
#include <sys/socket.h>

#include <array>

#include "device/connection.h"

namespace tlsfs {
namespace {

// How long `status` still says why a connection broke, where nobody was told.
constexpr std::chrono::seconds kRemembered{10};

// Of the socketpair behind the file data: what a program may write before it waits, in bytes. The
// kernel may allow less.
constexpr int kPairBuffer = 1 << 20;

Result<std::array<UniqueFd, 2>> make_pair() {
    std::array<int, 2> fds{};
    constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    if (socketpair(AF_UNIX, kType, 0, fds.data()) != 0) return system_failure("data: socketpair");
    for (const int fd : fds) {
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &kPairBuffer, sizeof kPairBuffer) != 0) {
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kPairBuffer, sizeof kPairBuffer);
        }
    }
    return std::array{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace

// Before and after the handshake alike. Needs lock_.
Result<> Connection::check_plain_side(const char* what) const {
    if (data_ || held_by_plain_ || given_plain_.valid()) {
        return failure(EBUSY, fmt::format("{}: there is a plain side already", what));
    }
    if (in_kernel_) return failure(EOPNOTSUPP, fmt::format("{}: the engine is kernel", what));
    return {};
}

Result<> Connection::open_data() {
    const std::scoped_lock guard(lock_);
    if (state_ == State::fresh && unseen_failure_ != 0 && !job_) {
        return failure(unseen_failure_, "data: " + facts_.error);
    }
    if (state_ == State::fresh || state_ == State::handshaking) {
        return failure(ENOTCONN, "data: no handshake yet");
    }
    if (!relay_ || end_code_ != 0) return failure(gone_code(), "data: the connection is over");
    if (data_) return {};
    if (auto free = check_plain_side("data"); !free) return free;
    auto pair = make_pair();
    if (!pair) return tl::unexpected(pair.error());
    PlainSide plain(PlainSide::Kind::file, Carrier::own_socket(std::move((*pair)[0])));
    data_ = std::make_unique<DataStream>(std::move((*pair)[1]), *this);
    data_stream_ = data_.get();
    if (!relay_->begin(std::move(plain)))
        return failure(gone_code(), "data: the connection is over");
    return {};
}

Result<UniqueFd> Connection::data_socket() {
    const std::scoped_lock guard(lock_);
    if (state_ == State::fresh || state_ == State::handshaking) {
        return failure(ENOTCONN, "data socket: no handshake yet");
    }
    if (auto free = check_plain_side("data socket"); !free) return tl::unexpected(free.error());
    if (!relay_ || over_) return failure(gone_code(), "data socket: the connection is over");
    if (services_.pairs == nullptr) {
        return failure(EOPNOTSUPP, "data socket: no network namespace can be made here");
    }
    const auto addresses = relay_->addresses();
    auto pair = addresses ? services_.pairs->make(addresses->local, addresses->remote)
                          : services_.pairs->make();
    if (!pair) return tl::unexpected(pair.error());
    PlainSide plain(PlainSide::Kind::socket, Carrier::own_socket(std::move(pair->ours)));
    if (auto begun = begin_plain(std::move(plain)); !begun) return tl::unexpected(begun.error());
    return std::move(pair->programs);
}

// From now on the plain side keeps the connection alive, as an open file would. Needs lock_.
Result<> Connection::begin_plain(PlainSide plain) {
    if (!relay_->begin(std::move(plain))) return failure(gone_code(), "the connection is over");
    ++opens_;
    held_by_plain_ = true;
    return {};
}

void Connection::watch(std::shared_ptr<StateWatcher> watcher) {
    const std::scoped_lock guard(lock_);
    watcher_ = std::move(watcher);
}

void Connection::channel_changed() {
    std::shared_ptr<StateWatcher> watcher;
    std::string status;
    bool over = false;
    {
        const std::scoped_lock guard(lock_);
        refresh();
        over = relay_->look().over;
        if (std::exchange(told_, state_) != state_ || over) watcher = watcher_;
        if (watcher) status = status_locked();
        if (over) watcher_.reset();
    }
    if (watcher) watcher->changed(status);
    const bool told = watcher && over && watcher->over();
    if (over) plain_is_over(told);
}

void Connection::let_go() {
    std::shared_ptr<Relay> relay;
    {
        const std::scoped_lock guard(lock_);
        relay = relay_;
    }
    if (relay) relay->let_go();
}

void Connection::plain_is_over(bool told) {
    bool held = false, failed = false;
    {
        const std::scoped_lock guard(lock_);
        held = std::exchange(held_by_plain_, false);
        failed = state_ == State::error;
    }
    if (!held) return;
    if (!failed || told) return services_.release(shared_from_this());
    services_.reactor.after(kRemembered, [weak = weak_from_this(), release = services_.release] {
        if (const auto self = weak.lock()) release(self);
    });
}

// The state follows what the relay found. Needs lock_.
void Connection::refresh_from_relay() {
    const auto now = relay_->look();
    if (state_ == State::error || state_ == State::closed) return;
    if (now.failure) return fail(*now.failure);
    if (now.write_over && state_ != State::local_closed) step(Event::local_close);
    if (now.read_over && state_ != State::remote_closed) step(Event::remote_close);
    if (now.over && !now.why_over.empty()) facts_.error = now.why_over;
    if (now.over) step(Event::hangup);
}

void Connection::plain_moved() {
    if (DataStream* data = data_stream_) data->moved();
}

void Connection::relay() {
    relay_->work();
}

int Connection::end_code() {
    if (const int code = end_code_; code != 0) return code;
    const auto now = relay_->look();
    return now.failure ? now.failure->code : 0;
}

int Connection::write_code() {
    const int code = end_code();
    return code != 0 ? code : EPIPE;
}

}  // namespace tlsfs
