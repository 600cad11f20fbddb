// SPDX-License-Identifier: MIT
// A connection's life: states, endings, and what happens when its carrier is ready.
#include "device/connection.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>

#include "channel/linger.h"

namespace tlsfs {

Connection::Connection(Number number, Caller owner, const Services& services,
                       std::shared_ptr<const Policy> policy, std::unique_ptr<KernelEnd> kernel)
    : number_(number),
      owner_(owner),
      services_(services),
      policy_(std::move(policy)),
      settings_(first_settings(*policy_)),
      kernel_(std::move(kernel)) {
    facts_.owner = owner.uid;
}

Connection::~Connection() {
    services_.reactor.cancel(timer_);
    if (kernel_ && over_) kernel_->forget();
}

bool Connection::opened() {
    const std::scoped_lock guard(lock_);
    if (over_) return false;
    ++opens_;
    return true;
}

bool Connection::released() {
    Answers answers;
    const std::scoped_lock guard(lock_);
    if (--opens_ > 0) return false;
    refresh();  // the last chance to say that it had failed
    over_ = true;
    step(Event::hangup);
    if (relay_) answers.first([relay = relay_] { relay->release(); });
    drop_stream();
    fail_waiting(ECONNABORTED, answers);  // nobody can be waiting but whoever lost a race
    return true;
}

void Connection::abandon(int code) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    if (in_kernel_) return;  // it needs no companion
    if (relay_) {
        answers.first([relay = relay_, code] {
            relay->close();
            relay->end(Error{code, "the companion is stopping"});
        });
    }
    set_failure({code, "the companion is stopping"});  // no fault of the connection's
    if (kernel_) kernel_->failed(code);
    drop_stream();
    fail_waiting(code, answers);
}

void Connection::signalled() {
    Answers answers;
    const std::scoped_lock guard(lock_);
    if (job_ && job_->request && job_->request->interrupted()) {
        // The wait ends, the handshake goes on, as connect(2) does it.
        answers.fail(std::move(job_->request), EINTR);
        job_->rest.clear();
    }
    if (data_) data_->signalled();
}

void Connection::ready(int fd) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    if (read_watch_.fd() == fd) read_watch_.fired();
    if (write_watch_.fd() == fd) write_watch_.fired();
    if (!stream_) return;
    continue_handshake(answers);
    rearm();
}

void Connection::step(Event event) {
    const State before = state_;
    if (const auto next = next_state(state_, event)) state_ = *next;
    log_state(before);
}

void Connection::fail(const Error& error) {
    log(LogLevel::warning, error.text);
    set_failure(error);
}

void Connection::set_failure(const Error& error) {
    step(Event::fail);
    if (!failure_) failure_ = error;
    facts_.error = error.text;
}

// A handshake that is given up; an alert may still have to go out.
void Connection::drop_stream() {
    if (dialling_) std::exchange(dialling_, nullptr)->cancel();
    services_.reactor.cancel(std::exchange(timer_, 0));
    read_watch_.reset();
    write_watch_.reset();
    carrier_ = {};
    given_plain_ = {};
    handed_over_.reset();
    if (!stream_) return;
    stream_->add_stats(stats_);
    auto left = stream_->detach();
    stream_.reset();
    linger(services_.reactor, std::move(left.transport), std::move(left.unsent),
           state_ == State::error);
}

void Connection::fail_waiting(int code, Answers& answers) {
    end_code_ = code;
    // Behind what is to be done with the relay, to which this looks like the program's close.
    if (data_) answers.first([self = shared_from_this(), code] { self->data_->fail(code); });
    if (job_) finish_job(failure(code, facts_.error), answers);
    wake_pollers(answers);
}

void Connection::rearm() {
    if (!stream_) return;
    const std::uint32_t in = stream_->accepts_input() ? std::uint32_t{EPOLLIN} : 0;
    const std::uint32_t out = stream_->unsent() > 0 ? std::uint32_t{EPOLLOUT} : 0;
    if (stream_->carrier().one_fd()) {
        read_watch_.arm(in | out);
    } else {
        read_watch_.arm(in);
        write_watch_.arm(out);
    }
}

// What a read or a write answers once there is no stream any more.
int Connection::gone_code() const {
    return failure_ ? failure_->code : ECONNABORTED;
}

std::string Connection::status() {
    const std::scoped_lock guard(lock_);
    return status_locked();
}

std::string Connection::status_locked() {
    refresh();
    StatusFields fields = facts_;
    fields.state = state_;
    if (carrier_.valid() && fields.remote.empty()) {
        fields.local = carrier_.local();
        fields.remote = carrier_.remote();
    }
    return status_text(fields);
}

std::string Connection::stats() {
    const std::scoped_lock guard(lock_);
    Stats all = stats_;
    if (stream_) stream_->add_stats(all);
    if (relay_) relay_->add_stats(all);
    add_kernel_stats(all);
    return stats_text(all);
}

Result<std::string> Connection::peer() {
    const std::scoped_lock guard(lock_);
    if (relay_) return relay_->peer_chain();
    if (in_kernel_ && !handed_over_) return failure(ENODATA, "an earlier companion had it");
    if (!handed_over_) return failure(ENOTCONN, "no handshake yet");
    return handed_over_->peer_chain();
}

}  // namespace tlsfs
