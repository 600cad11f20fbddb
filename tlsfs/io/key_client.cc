// SPDX-License-Identifier: MIT
#include "io/key_client.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cstring>

namespace tlsfs {
namespace {

constexpr int kAttempts = 3;

bool is_hung_up(int code) {
    return code == EPIPE || code == ECONNRESET || code == ENOTCONN;
}

tl::unexpected<Error> unreachable(const std::string& path, int code) {
    return failure(ENODEV, fmt::format("tlskeyd at {}: {}", path, std::strerror(code)));
}

// Of connect(2), send(2) and recv(2) on it.
void limit_waiting(int fd, std::chrono::seconds limit) {
    const timeval time{limit.count(), 0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
}

Result<UniqueFd> connect_to(const std::string& path, std::chrono::seconds limit) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return unreachable(path, ENAMETOOLONG);
    path.copy(address.sun_path, path.size());
    UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!fd.valid()) return system_failure("identity");
    limit_waiting(fd.get(), limit);
    const auto* to = reinterpret_cast<const sockaddr*>(&address);
    if (connect(fd.get(), to, sizeof address) != 0) return unreachable(path, errno);
    return fd;
}

// Of a thread: an answer lives only until it is understood.
Bytes& answer_buffer() {
    thread_local Bytes bytes(kMaxKeyAnswer + 1);
    return bytes;
}

}  // namespace

void KeyClient::set_path(std::string path) {
    std::vector<UniqueFd> idle;  // closed without the lock
    const std::scoped_lock guard(lock_);
    if (path == path_) return;
    path_ = std::move(path);
    idle.swap(idle_);
}

Result<KeyClient::Line> KeyClient::take_line() {
    std::string path;
    {
        const std::scoped_lock guard(lock_);
        if (!idle_.empty()) {
            Line line{std::move(idle_.back()), true};
            idle_.pop_back();
            return line;
        }
        path = path_;
    }
    auto fd = connect_to(path, kPatience);
    if (!fd) return tl::unexpected(fd.error());
    return Line{std::move(*fd), false};
}

void KeyClient::give_back(UniqueFd fd) {
    const std::scoped_lock guard(lock_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(fd));
}

void KeyClient::hang_up() {
    std::vector<UniqueFd> idle;
    const std::scoped_lock guard(lock_);
    idle.swap(idle_);
}

Result<Bytes> KeyClient::ask_once(const Line& line, ByteView message) const {
    const auto failed = [](int code) {
        const bool late = code == EAGAIN;
        return failure(late ? ETIMEDOUT : code,
                       fmt::format("tlskeyd does not answer: {}",
                                   late ? "its time has run out" : std::strerror(code)));
    };
    const int fd = line.fd.get();
    if (send(fd, message.data(), message.size(), MSG_NOSIGNAL) < 0) return failed(errno);
    Bytes& buffer = answer_buffer();
    ssize_t size = -1;
    do {
        size = recv(fd, buffer.data(), buffer.size(), 0);
    } while (size < 0 && errno == EINTR);
    if (size == 0) return failed(EPIPE);
    if (size < 0) return failed(errno);
    return Bytes(buffer.begin(), buffer.begin() + size);
}

// tlskeyd may have ended since a connection was made, or while it was asked: a new one, started by
// the same socket, answers the next attempt. Asking twice is harmless.
Result<Bytes> KeyClient::ask(const KeyRequest& request) {
    const Bytes message = encode(request);
    for (int attempt = 1;; ++attempt) {
        auto line = take_line();
        if (!line) return tl::unexpected(line.error());
        auto answer = ask_once(*line, message);
        if (answer) give_back(std::move(line->fd));
        if (answer || !is_hung_up(answer.error().code)) return answer;
        if (line->used) hang_up();
        if (attempt == kAttempts) return failure(ENODEV, answer.error().text);
    }
}

}  // namespace tlsfs
