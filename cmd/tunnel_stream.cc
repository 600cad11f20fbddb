// SPDX-License-Identifier: MIT
#include "tunnel_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <memory>
#include <thread>
#include <tuple>

#include "transfer.h"

namespace tlsfs::cmd {
namespace {

using Clock = std::chrono::steady_clock;

Failure plain_failure() {
    const int code = errno;
    return {code, std::string("the plain side: ") + std::strerror(code)};
}

Failure reset_by_plain() {
    errno = ECONNRESET;
    return plain_failure();
}

Failure tls_failure(const Connection& tls) {
    Failure why = why_broken(tls);
    why.text = "the TLS side: " + (why.text.empty() ? std::strerror(why.code) : why.text);
    return why;
}

}  // namespace

// Not filled with zeros: what is never received takes no memory.
class TunnelStream::Buffer {
 public:
    [[nodiscard]] std::span<char> space() { return {bytes_.get(), kChunk}; }
    [[nodiscard]] std::span<const char> first(ssize_t size) const {
        return {bytes_.get(), static_cast<std::size_t>(size)};
    }

 private:
    std::unique_ptr<char[]> bytes_ = std::make_unique_for_overwrite<char[]>(kChunk);
};

void reset_at_close(int socket_fd, bool reset) {
    const linger how{reset ? 1 : 0, 0};
    setsockopt(socket_fd, SOL_SOCKET, SO_LINGER, &how, sizeof(how));
}

TunnelStream::TunnelStream(Connection tls, UniqueFd plain, Event& called_off) noexcept
    : tls_(std::move(tls)),
      plain_(std::move(plain)),
      called_off_(called_off),
      last_moved_(Clock::now()) {}

Failure TunnelStream::run() {
    try {
        Buffer to_tls, to_plain;
        std::thread sender([&] { carry(&TunnelStream::plain_to_tls, to_tls); });
        carry(&TunnelStream::tls_to_plain, to_plain);
        sender.join();
    } catch (const std::exception& shortage) {
        break_off({ENOMEM, shortage.what()});
    }
    const std::scoped_lock guard(lock_);
    if (!why_) reset_at_close(plain_.get(), false);
    return why_;
}

// Nothing that is thrown here may look like the stream's end, nor take the process along.
void TunnelStream::carry(void (TunnelStream::*direction)(Buffer&), Buffer& buffer) {
    try {
        (this->*direction)(buffer);
    } catch (const std::exception& shortage) {
        break_off({ENOMEM, shortage.what()});
    }
}

void TunnelStream::break_off(Failure why) {
    note(std::move(why));
    called_off_.set();
    // It fails if the connection has ended by itself; then there is nobody to wake.
    std::ignore = tls_.hangup();
}

void TunnelStream::note(Failure why) {
    const std::scoped_lock guard(lock_);
    if (!why_) why_ = std::move(why);
}

void TunnelStream::plain_to_tls(Buffer& buffer) {
    for (;;) {
        const ssize_t size = receive_plain(buffer.space());
        if (size < 0) return break_off(plain_failure());
        if (size == 0) break;
        // What the peer had to say before it took no more is still to arrive; tls_to_plain() sees
        // the end of it, as a broken connection fails there as well.
        if (!write_all(tls_.data(), buffer.first(size))) {
            note(tls_failure(tls_));
            return;
        }
        last_moved_ = Clock::now();
    }
    if (is_plain_broken()) return break_off(reset_by_plain());
    // It fails where the connection is broken, which tls_to_plain() finds out too, and where the
    // peer has said all and is gone: then there is nobody to tell.
    std::ignore = tls_.close();
}

void TunnelStream::tls_to_plain(Buffer& buffer) {
    for (;;) {
        const ssize_t size = read_some(tls_.data(), buffer.space());
        if (size < 0) return break_off(tls_failure(tls_));
        if (size == 0 && why_ended(tls_)) return break_off(tls_failure(tls_));
        if (size == 0) break;
        if (!send_plain(buffer.first(size))) return break_off(plain_failure());
        last_moved_ = Clock::now();
    }
    // It fails if the plain side is gone altogether; that is plain_to_tls()'s to find out.
    shutdown(plain_.get(), SHUT_WR);
}

// Nothing but break_off() can wake a thread that sits in recv(2) without sending a FIN.
bool TunnelStream::wait_for_plain(short events) const {
    const Waited waited = wait_for(plain_.get(), events, called_off_);
    if (waited == Waited::ready) return true;
    errno = errno_of(waited);
    return false;
}

ssize_t TunnelStream::receive_plain(std::span<char> buffer) const {
    for (;;) {
        const ssize_t size = recv(plain_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (size >= 0) return size;
        if (errno == EINTR) continue;
        if (errno != EAGAIN || !wait_for_plain(POLLIN)) return -1;
    }
}

// A socket tells of a reset once, to whoever asks first, and is at its end for the other: so a
// receiver that sees the end must know whether a sender has met the reset.
ssize_t TunnelStream::send_once(std::span<const char> bytes) {
    const std::scoped_lock guard(sending_);
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const ssize_t size = send(plain_.get(), bytes.data(), bytes.size(), flags);
    if (size < 0 && errno != EINTR && errno != EAGAIN) plain_broken_ = true;
    return size;
}

bool TunnelStream::is_plain_broken() {
    const std::scoped_lock guard(sending_);
    return plain_broken_;
}

bool TunnelStream::send_plain(std::span<const char> bytes) {
    while (!bytes.empty()) {
        const ssize_t size = send_once(bytes);
        if (size >= 0) {
            bytes = bytes.subspan(static_cast<std::size_t>(size));
        } else if (errno != EINTR && (errno != EAGAIN || !wait_for_plain(POLLOUT))) {
            return false;
        }
    }
    return true;
}

}  // namespace tlsfs::cmd
