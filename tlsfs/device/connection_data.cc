// SPDX-License-Identifier: MIT
// `data`: reading, writing, and waiting for either.
#include <poll.h>

#include <algorithm>
#include <tuple>

#include "device/connection.h"

namespace tlsfs {
namespace {

using Outcome = Step::Outcome;

constexpr std::size_t kMaxRead = 1U << 20U;  // FUSE's largest request
constexpr std::size_t kLarge = 64U << 10U;   // bytes: from here on encrypting outweighs a wake-up

// One a thread: plaintext passes through, and is nobody's once the answer is given.
std::span<std::byte> read_buffer(std::size_t size) {
    thread_local const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kMaxRead);
    return {buffer.get(), std::min(size, kMaxRead)};
}

}  // namespace

Result<> Connection::open_data() {
    const std::scoped_lock guard(lock_);
    if (state_ == State::fresh && unseen_failure_ != 0 && !job_) {
        return failure(unseen_failure_, "data: " + facts_.error);
    }
    if (state_ == State::fresh || state_ == State::handshaking) {
        return failure(ENOTCONN, "data: no handshake yet");
    }
    if (!stream_) return failure(gone_code(), "data: the connection is over");
    return {};
}

void Connection::read(std::unique_ptr<ReadRequest> request) {
    Answers answers;
    std::unique_lock guard(lock_);
    if (request->nonblocking() && !readers_.empty()) {
        guard.unlock();
        return request->fail(EAGAIN);  // whatever comes is for those who wait
    }
    readers_.push_back(std::move(request));
    const State before = state_;
    if (readers_.size() == 1) serve_readers(guard);
    tell_others(before, answers);
    // What was received beyond this reader's share makes the carrier ready no more.
    if (polled_for(kReadEvents)) wake_ready_pollers(answers);
    // A signal that came before the request was parked has told nobody but the request.
    if (!readers_.empty() && readers_.back()->interrupted()) {
        guard.unlock();
        return signalled();
    }
    rearm();
}

// Answers as many parked readers as there is something to answer with. The lock is let go for
// every answer, so that a megabyte on its way to the kernel blocks nobody.
void Connection::serve_readers(std::unique_lock<std::mutex>& guard) {
    while (!readers_.empty()) {
        ReadRequest& first = *readers_.front();
        const auto buffer = read_buffer(first.size());
        const Step outcome = read_step(buffer);
        if (outcome.outcome == Outcome::want_input) {
            if (!first.nonblocking()) return;
        }
        const auto request = std::move(readers_.front());
        readers_.pop_front();
        guard.unlock();
        switch (outcome.outcome) {
            case Outcome::done:
                request->reply(buffer.first(outcome.count));
                break;
            case Outcome::closed:
                request->reply({});
                break;
            case Outcome::want_input:
                request->fail(EAGAIN);
                break;
            case Outcome::failed:
                request->fail(outcome.error.code);
                break;
        }
        guard.lock();
    }
}

Step Connection::read_step(std::span<std::byte> into) {
    if (!stream_) return {Outcome::failed, 0, {gone_code(), "the connection is over"}};
    Step outcome = stream_->read(into);
    note(outcome);
    return outcome;
}

// The state follows what reading found.
void Connection::note(const Step& outcome) {
    if (outcome.outcome == Outcome::closed) step(Event::remote_close);
    if (outcome.outcome == Outcome::failed && state_ != State::error) fail(outcome.error);
    note_write_error();
}

void Connection::note_write_error() {
    if (stream_ && stream_->write_error() && state_ != State::error) fail(*stream_->write_error());
}

// What one found out concerns all: a connection that is broken takes nothing more from writers, and
// the carrier of a peer that does not read would never say so.
void Connection::tell_others(State before, Answers& answers) {
    if (state_ == before) return;
    if (stream_) serve_writers(answers);
    wake_ready_pollers(answers);
}

void Connection::write(std::unique_ptr<WriteRequest> request) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    const State before = state_;
    start_write(std::move(request), answers);
    tell_others(before, answers);
    rearm();
}

void Connection::start_write(std::unique_ptr<WriteRequest> request, Answers& answers) {
    if (!stream_) return answers.fail(std::move(request), gone_code());
    if (state_ == State::local_closed || state_ == State::closed) {
        return answers.fail(std::move(request), EPIPE);
    }
    const bool must_wait = !writers_.empty() || !stream_->writable();
    if (request->nonblocking()) {
        if (must_wait) {
            owes_writable_ = true;
            return answers.fail(std::move(request), EAGAIN);
        }
        const auto taken = stream_->write_some(request->data());
        owes_writable_ = owes_writable_ || !stream_->writable();
        note_write_error();
        if (!taken) return answers.fail(std::move(request), taken.error().code);
        return answers.reply(std::move(request), *taken);
    }
    if (must_wait) {
        const auto data = request->data();
        writers_.push_back({std::move(request), {data.begin(), data.end()}});
    } else {
        if (request->size() >= kLarge && stream_->unsent() == 0 && !stream_->write_error()) {
            return answer_and_write(std::move(request));
        }
        const auto written = stream_->write(request->data());
        note_write_error();
        if (!written) return answers.fail(std::move(request), written.error().code);
        if (stream_->writable()) {
            const std::size_t all = request->size();
            return answers.reply(std::move(request), all);
        }
        writers_.push_back({std::move(request), {}});
    }
    if (!writers_.back().request->interrupted()) return;
    answer_interrupted(writers_.back(), answers);
    writers_.pop_back();
}

// The program makes its next piece while this one is encrypted. Should it fail, the next call says
// so, as with TCP. Answered under the lock, which keeps what comes next in its place.
void Connection::answer_and_write(std::unique_ptr<WriteRequest> request) {
    const auto data = request->data();
    request->reply(data.size());
    request.reset();
    std::ignore = stream_->write(data);  // remembers its error
    note_write_error();
}

void Connection::answer_interrupted(ParkedWrite& parked, Answers& answers) {
    if (parked.data.empty()) {
        const std::size_t taken = parked.request->size();  // all of it: it is in records already
        answers.reply(std::move(parked.request), taken);
    } else {
        answers.fail(std::move(parked.request), EINTR);
    }
}

// Goes on with the parked writers as far as the carrier takes it.
void Connection::serve_writers(Answers& answers) {
    while (!writers_.empty() && (stream_->writable() || stream_->write_error())) {
        ParkedWrite& first = writers_.front();
        Result<> written = {};
        if (!first.data.empty()) {
            written = stream_->write(std::exchange(first.data, {}));
        } else if (stream_->write_error()) {
            written = tl::unexpected(*stream_->write_error());
        }
        note_write_error();
        if (written && !stream_->writable()) return;
        auto request = std::move(first.request);
        writers_.pop_front();
        const std::size_t all = request->size();
        if (written) {
            answers.reply(std::move(request), all);
        } else {
            answers.fail(std::move(request), written.error().code);
        }
    }
}

// Looking whether there is something to read means decrypting: only for those who want to know.
std::uint32_t Connection::data_events(std::uint32_t wanted) {
    if (!stream_) return POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLHUP | POLLERR;
    std::uint32_t events = 0;
    if ((wanted & kReadEvents) != 0 && stream_->readable()) {
        events |= POLLIN | POLLRDNORM;
        if (const auto& end = stream_->end_of_reading()) {
            note(*end);
            events |= POLLRDHUP;
        }
    }
    note_write_error();
    if (writers_.empty() && (stream_->writable() || stream_->write_error())) {
        events |= POLLOUT | POLLWRNORM;
    } else if ((wanted & kWriteEvents) != 0) {
        owes_writable_ = true;
    }
    if (state_ == State::error) events |= POLLERR;
    if (state_ == State::closed) events |= POLLHUP;
    return events;
}

std::uint32_t Connection::poll_data(const void* file, std::uint32_t wanted,
                                    std::unique_ptr<Poller> poller) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    const State before = state_;
    const std::uint32_t events = data_events(wanted);
    tell_others(before, answers);
    if (poller) keep_poller({file, wanted, std::move(poller)});
    rearm();
    return events;
}

// Several threads may poll one file, each for something else; one poller wakes them all.
void Connection::keep_poller(Polling polling) {
    for (const Polling& earlier : pollers_) {
        if (earlier.file == polling.file) polling.wanted |= earlier.wanted;
    }
    forget_poller_locked(polling.file);
    pollers_.push_back(std::move(polling));
}

void Connection::forget_poller(const void* file) {
    const std::scoped_lock guard(lock_);
    forget_poller_locked(file);
}

void Connection::forget_poller_locked(const void* file) {
    std::erase_if(pollers_, [&](const Polling& polling) { return polling.file == file; });
}

bool Connection::polled_for(std::uint32_t events) const {
    return std::ranges::any_of(pollers_,
                               [&](const Polling& p) { return (p.wanted & events) != 0; });
}

// Each that is woken asks again, and is kept again if it is not content.
void Connection::wake_ready_pollers(Answers& answers) {
    if (pollers_.empty()) return;
    const std::uint32_t events = data_events((polled_for(kReadEvents) ? kReadEvents : 0) |
                                             (polled_for(kWriteEvents) ? kWriteEvents : 0));
    for (Polling& polling : pollers_) {
        if ((events & (polling.wanted | POLLERR | POLLHUP)) == 0) continue;
        answers.wake(std::move(polling.poller));
    }
    std::erase_if(pollers_, [](const Polling& polling) { return polling.poller == nullptr; });
}

void Connection::wake_pollers(Answers& answers) {
    for (Polling& polling : pollers_) answers.wake(std::move(polling.poller));
    pollers_.clear();
}

}  // namespace tlsfs
