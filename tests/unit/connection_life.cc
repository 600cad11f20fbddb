// SPDX-License-Identifier: MIT
// A connection's life: established, seen, ended.
#include "connection/connection.h"

#include <doctest/doctest.h>

#include "support/fakes.h"

using namespace tlsfs;
using namespace tlsfs::test;

namespace {

std::size_t open_descriptors() {
    std::size_t count = 0;
    for (int fd = 0; fd < 4096; ++fd) count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return count;
}

}  // namespace

TEST_CASE("connection: status of both ends") {
    Device device;
    const auto both = connected(device, tcp_pair(), "alpn h2\n");
    const std::string client = both.client->status(), server = both.server->status();
    for (const auto* line :
         {"State: Established", "Engine: user", "Role: client", "Version: TLSv1.3",
          "Name: server.test", "Verify: ok", "Peer: CN=server", "Owner: 1000"}) {
        CAPTURE(line);
        CHECK(has_line(client, line));
    }
    for (const auto* line : {"Role: server", "Name: server.test", "Verify: none"})
        CHECK(has_line(server, line));
    CHECK(client.find("Remote: 127.0.0.1:") != std::string::npos);
    CHECK(client.find("Error:") == std::string::npos);
    CHECK(*both.client->peer() == world().server.pem());
    CHECK(both.server->peer()->empty());
    CHECK(both.client->stats().find("HandshakeMicroseconds: ") != std::string::npos);
    CHECK(both.client->open_data());
}

TEST_CASE("connection: a certificate that is not accepted") {
    Device device;
    const auto client = device.connect(), server = device.connect();
    auto [ours, theirs] = socket_pair();
    REQUIRE(write_pem(*client, PemFile::ca, world().authority.pem()));
    REQUIRE(write_pem(*server, PemFile::cert, world().server.pem()));
    REQUIRE(write_pem(*server, PemFile::key, world().server.key_pem()));
    const auto answer = start_ctl(*server, "fd 3\nserver\n", {{3, theirs.get()}});
    CHECK(ctl(*client, "fd 3\nclient other.test\n", {{3, ours.get()}}) == EKEYREJECTED);
    CHECK(answer->code() == EPROTO);
    CHECK(has_line(client->status(), "State: Error"));
    CHECK(client->status().find("Verify:") == std::string::npos);
    CHECK(server->status().find("alert bad_certificate") != std::string::npos);
    CHECK(client->open_data().error().code == EKEYREJECTED);
    CHECK(start_read(*client)->code() == EKEYREJECTED);
    CHECK(start_write(*client, "x")->code() == EKEYREJECTED);
    CHECK(client->peer().error().code == ENOTCONN);
}

TEST_CASE("connection: the last close sends what is left, then close_notify") {
    Device device;
    const auto both = connected(device);
    REQUIRE(both.client->opened());
    CHECK(start_write(*both.client, "last words")->code() == 0);
    device.registry.release(both.client);
    CHECK(has_line(both.client->status(), "State: Established"));
    device.registry.release(both.client);
    CHECK(start_read(*both.server)->data() == "last words");
    const auto end = start_read(*both.server);
    CHECK(end->code() == 0);
    CHECK(end->data().empty());
    CHECK(has_line(both.server->status(), "State: RemoteClosed"));
    CHECK_FALSE(both.client->opened());
    CHECK(start_read(*both.client)->code() == ECONNABORTED);
}

TEST_CASE("connection: more than the transport takes is sent after the last close") {
    Device device;
    const auto both = connected(device, tcp_pair());
    const std::string data(900'000, 'x');
    const auto write = start_write(*both.client, data);
    if (!write->given()) {
        write->interrupted = true;
        both.client->signalled();
    }
    CHECK(write->count() == data.size());
    device.registry.release(both.client);
    std::string got;
    for (;;) {
        const auto read = start_read(*both.server, 1U << 20U);
        REQUIRE(read->code() == 0);
        if (read->data().empty()) break;
        got += read->data();
    }
    CHECK((got == data));
}

TEST_CASE("connection: hangup is no close_notify") {
    Device device;
    const auto both = connected(device);
    const auto read = start_read(*both.client), other = start_read(*both.server);
    Wakes wakes;
    (void)poll_data(*both.client, &wakes, 0, wakes.poller());
    CHECK(ctl(*both.client, "hangup") == 0);
    CHECK(read->code() == ECONNABORTED);
    CHECK(wakes.count() == 1);
    CHECK(other->code() == ECONNRESET);
    CHECK(has_line(both.client->status(), "State: Closed"));
    CHECK(has_line(both.server->status(), "State: Error"));
}

TEST_CASE("connection: abandon answers everybody") {
    Device device;
    const auto both = connected(device);
    stuff(*both.client);
    const auto read = start_read(*both.client), write = start_write(*both.client, "x");
    const auto handshaking = device.connect();
    auto [ours, theirs] = socket_pair();
    const auto job = start_ctl(*handshaking, "verify none\nfd 3\nclient\n", {{3, ours.get()}});
    Wakes wakes;
    (void)poll_data(*both.client, &wakes, 0, wakes.poller());
    device.registry.abandon(ECONNABORTED);
    CHECK(read->code() == ECONNABORTED);
    CHECK(write->code() == ECONNABORTED);
    CHECK(job->code() == ECONNABORTED);
    CHECK(wakes.count() == 1);
    CHECK(start_read(*both.client)->code() == ECONNABORTED);
    CHECK(ctl(*both.client, "close") == EBUSY);
}

TEST_CASE("connection: nothing stays behind") {
    const std::size_t before = open_descriptors();
    {
        Device device;
        for (int i = 0; i < 10; ++i) {
            const auto both = connected(device);
            CHECK(start_write(*both.client, "x")->code() == 0);
            device.registry.release(both.client);
            device.registry.release(both.server);
        }
        const auto refused = device.connect();
        const UniqueFd listener = listen_on_loopback();
        auto [ours, theirs] = socket_pair();
        CHECK(ctl(*refused, "fd 3", {{3, listener.get()}}) == EOPNOTSUPP);
        CHECK(ctl(*refused, "fd 3 4", {{3, ours.get()}, {4, listener.get()}}) == EOPNOTSUPP);
        CHECK(ctl(*refused, "fd 3 4", {{3, ours.get()}}) == EBADF);
        device.registry.release(refused);
        // Refused descriptors are closed in the background: after this task.
        std::mutex lock;
        std::condition_variable changed;
        bool done = false;
        for (int i = 0; i < 100 && open_descriptors() > before + 8; ++i) {
            done = false;
            device.background.run(1000, [&] {
                const std::scoped_lock guard(lock);
                done = true;
                changed.notify_all();
            });
            std::unique_lock held(lock);
            changed.wait(held, [&] { return done; });
        }
    }
    CHECK(open_descriptors() == before);
}
