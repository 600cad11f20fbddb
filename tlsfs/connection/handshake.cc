// SPDX-License-Identifier: MIT
#include "connection/handshake.h"

#include <sys/epoll.h>

#include <utility>

#include "channel/linger.h"

namespace tlsfs {

Handshake::Handshake(const Services& services, ConnectionEvents& events, Facts& facts,
                     std::unique_ptr<RecordStream> stream, Terms terms)
    : services_(services),
      facts_(facts),
      events_(events),
      stream_(std::move(stream)),
      terms_(terms) {
    const ByteStream& transport = stream_->transport();
    read_watch_ = Reactor::Watch(services_.reactor, transport.read_fd(), events.weak_from_this());
    if (!transport.one_fd()) {
        write_watch_ =
            Reactor::Watch(services_.reactor, transport.write_fd(), events.weak_from_this());
    }
    if (terms_.keep_secrets) {
        stream_->keep_secrets();
    } else {
        stream_->stay();
    }
}

Handshake::~Handshake() {
    services_.reactor.cancel(timer_);
    stop_watching();
    if (!stream_) return;
    stream_->add_stats(facts_.stats);
    auto left = stream_->detach();
    stream_.reset();
    linger(services_.reactor, std::move(left.transport), std::move(left.unsent),
           facts_.state() == State::error);
}

void Handshake::limit(std::chrono::milliseconds time) {
    timer_ = services_.reactor.after(time, [weak = events_.weak_from_this()] {
        if (const auto events = weak.lock()) events->handshake_timed_out();
    });
}

Step Handshake::go_on() {
    begun_to_speak_ = true;
    return stream_->handshake();
}

void Handshake::fired(int fd) {
    if (read_watch_.fd() == fd) read_watch_.fired();
    if (write_watch_.fd() == fd) write_watch_.fired();
}

void Handshake::rearm() {
    const std::uint32_t in = stream_->accepts_input() ? std::uint32_t{EPOLLIN} : 0;
    const bool to_send = stream_->unsent() > 0 || !begun_to_speak_;
    const std::uint32_t out = to_send ? std::uint32_t{EPOLLOUT} : 0;
    if (stream_->transport().one_fd()) {
        read_watch_.arm(in | out);
    } else {
        read_watch_.arm(in);
        write_watch_.arm(out);
    }
}

std::chrono::microseconds Handshake::done() {
    services_.reactor.cancel(std::exchange(timer_, 0));
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                                 begun_);
}

void Handshake::stop_watching() {
    read_watch_.reset();
    write_watch_.reset();
}

std::unique_ptr<RecordStream> Handshake::take_stream() {
    stop_watching();
    return std::move(stream_);
}

}  // namespace tlsfs
