// SPDX-License-Identifier: MIT
// One thread, one epoll, many nonblocking descriptors: on each it writes a pattern and reads it
// back from an echo.
//
//     epoll_loop level|edge BYTES FD…

#include "pattern.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

struct Stream {
    int fd = -1;
    std::uint64_t sent = 0;
    pattern::Checker received;
    bool done = false;
};

[[noreturn]] void fail(const char* what, const Stream& stream) {
    std::fprintf(stderr, "descriptor %d: %s: %s (sent %ju, received %ju)\n", stream.fd, what,
                 std::strerror(errno), std::uintmax_t{stream.sent},
                 std::uintmax_t{stream.received.offset()});
    std::exit(1);
}

bool would_wait(ssize_t count) {
    return count < 0 && errno == EAGAIN;
}

// Writes until the descriptor takes no more; the edge that follows says when it does again.
void send_some(Stream& stream, std::uint64_t bytes, std::span<char> buffer) {
    while (stream.sent < bytes) {
        const std::size_t size = std::min<std::uint64_t>(buffer.size(), bytes - stream.sent);
        pattern::fill(stream.sent, buffer.first(size));
        const ssize_t count = write(stream.fd, buffer.data(), size);
        if (would_wait(count)) return;
        if (count <= 0) fail("write", stream);
        stream.sent += static_cast<std::uint64_t>(count);
    }
}

void receive_some(Stream& stream, std::uint64_t bytes, std::span<char> buffer) {
    while (stream.received.offset() < bytes) {
        const ssize_t count = read(stream.fd, buffer.data(), buffer.size());
        if (would_wait(count)) return;
        if (count <= 0) fail("read", stream);
        if (!stream.received.accept(buffer.first(static_cast<std::size_t>(count))))
            fail("wrong bytes", stream);
    }
    stream.done = true;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) return 100;
    const bool edge = std::string_view(argv[1]) == "edge";
    const std::uint64_t bytes = std::strtoull(argv[2], nullptr, 10);
    std::vector<Stream> streams(static_cast<std::size_t>(argc - 3));
    std::vector<char> buffer(100'000);

    const int loop = epoll_create1(EPOLL_CLOEXEC);
    for (std::size_t i = 0; i < streams.size(); ++i) {
        Stream& stream = streams[i];
        stream.fd = std::atoi(argv[i + 3]);
        if (fcntl(stream.fd, F_SETFL, fcntl(stream.fd, F_GETFL) | O_NONBLOCK) != 0)
            fail("fcntl", stream);
        epoll_event event{.events = EPOLLIN | EPOLLOUT, .data = {.u64 = i}};
        if (edge) event.events |= EPOLLET;
        if (epoll_ctl(loop, EPOLL_CTL_ADD, stream.fd, &event) != 0) fail("epoll_ctl", stream);
    }

    std::size_t left = streams.size();
    while (left > 0) {
        epoll_event events[64];
        const int count = epoll_wait(loop, events, 64, -1);
        for (int i = 0; i < count; ++i) {
            Stream& stream = streams[events[i].data.u64];
            if (stream.done) continue;
            if (events[i].events & EPOLLOUT) send_some(stream, bytes, buffer);
            if (events[i].events & EPOLLIN) receive_some(stream, bytes, buffer);
            if (!edge && stream.sent == bytes) {
                epoll_event only_in{.events = EPOLLIN, .data = events[i].data};
                epoll_ctl(loop, EPOLL_CTL_MOD, stream.fd, &only_in);
            }
            if (stream.done) {
                epoll_ctl(loop, EPOLL_CTL_DEL, stream.fd, nullptr);
                --left;
            }
        }
    }
    std::printf("%zu streams\n", streams.size());
}
