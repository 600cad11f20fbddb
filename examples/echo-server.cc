// SPDX-License-Identifier: MIT
// A TLS server that serves all its connections from one epoll loop: echo-server PORT CERT KEY.
//   c++ -std=c++20 echo-server.cc $(pkg-config --cflags --libs tlsfs) -o echo-server
// tlsserver() waits for the handshake, so each is done by a thread of its own; the descriptor that
// it returns is polled like any other.
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <tlsclient.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace {

int listen_on(const char* port) {
    const int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
    const auto* where = reinterpret_cast<const sockaddr*>(&address);
    if (bind(listener, where, sizeof address) != 0 || listen(listener, SOMAXCONN) != 0) return -1;
    return listener;
}

void watch(int epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

void handshake(int epoll, int fd, const char* cert, const char* key) {
    const int data = tlsserver(fd, cert, key);
    if (data < 0) {
        std::perror("tlsserver");
        close(fd);
        return;
    }
    watch(epoll, data);
}

// What comes goes back. A server that must not wait for a peer that does not read sets O_NONBLOCK,
// and keeps what write() did not take until EPOLLOUT.
void serve(int data) {
    std::array<char, 65536> buffer;
    const ssize_t got = read(data, buffer.data(), buffer.size());
    if (got > 0 && write(data, buffer.data(), static_cast<std::size_t>(got)) == got) return;
    if (got < 0) std::perror("read");  // ECONNRESET: cut short
    close(data);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) return 100;
    signal(SIGPIPE, SIG_IGN);
    const int listener = listen_on(argv[1]);
    if (listener < 0) return std::perror("listen"), 111;
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener);
    for (;;) {
        epoll_event event{};
        if (epoll_wait(epoll, &event, 1, -1) != 1) continue;
        if (event.data.fd != listener) {
            serve(event.data.fd);
            continue;
        }
        const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0) std::thread(handshake, epoll, fd, argv[2], argv[3]).detach();
    }
}
