// SPDX-License-Identifier: MIT
// The TLS server that all contestants are measured against. It has as little to do as possible
// while a clock runs: it counts what it is sent without decrypting it, and what it sends it has
// encrypted before.
//
//     endpoint --chain FILE --key FILE [--threads N] [--tickets N] [--groups LIST]
//
// Prints "port N", and serves 127.0.0.1 there until it is killed.

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <thread>
#include <vector>

#include "endpoint_connection.h"
#include "fail.h"
#include "options.h"

namespace {

using bench::EndpointConnection;
using bench::fail;
using bench::UniqueFd;

void watch(int poll, int operation, EndpointConnection* connection) {
    epoll_event event{};
    event.events = connection->events();
    event.data.ptr = connection;
    if (epoll_ctl(poll, operation, connection->fd(), &event) != 0) fail("epoll_ctl");
}

[[noreturn]] void work(int poll) {
    std::array<epoll_event, 256> events{};
    for (;;) {
        const int count = epoll_wait(poll, events.data(), events.size(), -1);
        for (int i = 0; i < count; ++i) {
            auto* connection = static_cast<EndpointConnection*>(events[i].data.ptr);
            const std::uint32_t before = connection->events();
            if (!connection->ready()) {
                delete connection;
            } else if (connection->events() != before) {
                watch(poll, EPOLL_CTL_MOD, connection);
            }
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    const bench::Options options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    bench::raise_descriptor_limit();
    const auto context = bench::server_context(options.text("chain"), options.text("key"),
                                               options.text("groups", "X25519"));
    SSL_CTX_set_num_tickets(context.get(), options.number("tickets", 2));
    SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);

    std::vector<int> polls(options.number("threads", std::thread::hardware_concurrency()));
    for (int& poll : polls) {
        poll = epoll_create1(EPOLL_CLOEXEC);
        std::thread(work, poll).detach();
    }
    std::uint16_t port = 0;
    const UniqueFd listener = bench::listen_anywhere(port);
    std::printf("port %u\n", unsigned{port});
    std::fflush(stdout);
    for (std::size_t next = 0;; ++next) {
        const int fd = accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == ECONNABORTED || errno == EINTR) continue;
            fail("accept");
        }
        // The thread that it is given to deletes it.
        watch(polls[next % polls.size()], EPOLL_CTL_ADD,
              new EndpointConnection(UniqueFd(fd), context.get()));
    }
}
