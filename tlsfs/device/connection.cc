// SPDX-License-Identifier: MIT
// A connection's life: states, endings, and what happens when its carrier is ready.
#include "device/connection.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>

#include "device/linger.h"

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
    const bool healthy = !stream_ || !stream_->write_error();
    if (stream_ && healthy) stream_->close();
    step(Event::hangup);
    drop_stream();
    fail_waiting(ECONNABORTED, answers);  // nobody can be waiting but whoever lost a race
    return true;
}

void Connection::abandon(int code) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    if (in_kernel_) return;  // it needs no companion
    if (stream_ && !stream_->write_error()) stream_->close();
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
    for (auto& reader : readers_) {
        if (reader->interrupted()) answers.fail(std::move(reader), EINTR);
    }
    std::erase(readers_, nullptr);
    for (ParkedWrite& writer : writers_) {
        if (writer.request->interrupted()) answer_interrupted(writer, answers);
    }
    std::erase_if(writers_, [](const ParkedWrite& writer) { return writer.request == nullptr; });
}

void Connection::ready(int fd) {
    Answers answers;
    std::unique_lock guard(lock_);
    if (read_watch_.fd() == fd) read_watch_.fired();
    if (write_watch_.fd() == fd) write_watch_.fired();
    if (!stream_) return;
    if (state_ == State::handshaking) {
        continue_handshake(answers);
    } else {
        stream_->flush();
        note_write_error();
        serve_writers(answers);
        const State before = state_;
        serve_readers(guard);
        tell_others(before, answers);
        wake_ready_pollers(answers);
    }
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

// What is still to be sent goes on without us.
void Connection::drop_stream() {
    if (dialling_) std::exchange(dialling_, nullptr)->cancel();
    services_.reactor.cancel(std::exchange(timer_, 0));
    read_watch_.reset();
    write_watch_.reset();
    carrier_ = {};
    handed_over_.reset();
    if (!stream_) return;
    stream_->add_stats(stats_);
    stream_->give_up();
    linger(services_.reactor, std::move(stream_));
}

void Connection::fail_waiting(int code, Answers& answers) {
    for (auto& reader : readers_) answers.fail(std::move(reader), code);
    readers_.clear();
    for (ParkedWrite& writer : writers_) answers.fail(std::move(writer.request), code);
    writers_.clear();
    if (job_) finish_job(failure(code, facts_.error), answers);
    wake_pollers(answers);
}

void Connection::rearm() {
    if (!stream_) return;
    const bool wants_input =
        state_ == State::handshaking || !readers_.empty() || polled_for(kReadEvents);
    const std::uint32_t in = wants_input && stream_->accepts_input() ? std::uint32_t{EPOLLIN} : 0;
    // A reader's thread may have sent what a writer was waiting to be rid of: then the writer's
    // turn comes with an event that is there at once.
    const bool wants_output = stream_->unsent() > 0 || !writers_.empty() || owes_writable_;
    const std::uint32_t out = wants_output ? std::uint32_t{EPOLLOUT} : 0;
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
    refresh();
    StatusFields fields = facts_;
    fields.state = state_;
    const Carrier& carrier = stream_ ? stream_->carrier() : carrier_;
    if (carrier.valid() && fields.remote.empty()) {
        fields.local = carrier.local();
        fields.remote = carrier.remote();
    }
    return status_text(fields);
}

std::string Connection::stats() {
    const std::scoped_lock guard(lock_);
    Stats all = stats_;
    if (stream_) stream_->add_stats(all);
    add_kernel_stats(all);
    return stats_text(all);
}

Result<std::string> Connection::peer() {
    const std::scoped_lock guard(lock_);
    const auto& stream = in_kernel_ ? handed_over_ : stream_;
    if (in_kernel_ && !stream) return failure(ENODATA, "an earlier companion had it");
    if (!stream || state_ == State::handshaking) return failure(ENOTCONN, "no handshake yet");
    return stream->peer_chain();
}

}  // namespace tlsfs
