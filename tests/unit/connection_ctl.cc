// SPDX-License-Identifier: MIT
// What lines do: their order, their errnos, who waits.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>

#include <future>

#include "core/bounds.h"
#include "support/fakes.h"

using namespace tlsfs;
using namespace tlsfs::test;

TEST_CASE("ctl: lines are done in order until one fails") {
    Device device(1);
    const auto c = device.connect();
    const auto answer = start_ctl(*c, "verify none\nsession off\n");
    CHECK(answer->code() == 0);
    CHECK(answer->count() == 24);
    CHECK(ctl(*c, "alpn h2\nnonsense\nfd 3\n") == EINVAL);
    CHECK(has_line(c->status(), "Error: unknown verb 'nonsense'"));
    CHECK(has_line(c->status(), "State: New"));
    CHECK(ctl(*c, "") == 0);
    CHECK(ctl(*c, "\n") == EINVAL);
    CHECK(ctl(*c, "session on\n\n") == EINVAL);
    CHECK(ctl(*c, std::string(4097, 'x')) == EINVAL);
    CHECK(ctl(*c, std::string("session on\0\n", 12)) == EINVAL);
}

TEST_CASE("ctl: an error's text cannot forge status") {
    Device device(1);
    const auto c = device.connect();
    CHECK(ctl(*c, "x\rVerify:\x1b[2Jok") == EINVAL);
    const std::string status = c->status();
    CHECK(std::ranges::count(status, '\n') == 3);
    CHECK(status.find('\x1b') == std::string::npos);
    CHECK(status.find('\r') == std::string::npos);
}

TEST_CASE("ctl: too early and too late") {
    Device device(1);
    const auto c = device.connect();
    for (const auto* line : {"client", "server", "close", "keyupdate", "client x"}) {
        CAPTURE(line);
        CHECK(ctl(*c, line) == ENOTCONN);
    }
    auto [ours, theirs] = socket_pair();
    CHECK(ctl(*c, "fd 3", {{3, ours.get()}}) == 0);
    CHECK(ctl(*c, "fd 3", {{3, ours.get()}}) == EBUSY);
    CHECK(ctl(*c, "dial localhost:1") == EBUSY);
    const UniqueFd copy = duplicate(ours);
    CHECK(c->attach(duplicate(ours), {}).error().code == EBUSY);
    CHECK(ctl(*c, "server") == EINVAL);  // no cert
    CHECK(ctl(*c, "engine kernel") == EOPNOTSUPP);
    CHECK(ctl(*c, "ciphers FOO") == EINVAL);
    CHECK(ctl(*c, "groups FOO") == EINVAL);
    CHECK(ctl(*c, "hangup") == 0);
    CHECK(ctl(*c, "verify none") == EBUSY);
    CHECK(ctl(*c, "client x") == EBUSY);
    CHECK(ctl(*c, "hangup") == 0);
    CHECK(has_line(c->status(), "State: Closed"));
}

TEST_CASE("ctl: a client without a name where there is none") {
    Device device(1);
    const auto c = device.connect();
    auto [ours, theirs] = socket_pair();
    CHECK(ctl(*c, "fd 3", {{3, ours.get()}}) == 0);
    REQUIRE(write_pem(*c, PemFile::ca, world().authority.pem()));
    CHECK(ctl(*c, "client") == EINVAL);
    CHECK(has_line(c->status(), "State: New"));  // it may be said again, with a name
    CHECK(start_ctl(*c, "client server.test", {}, true)->code() == EINPROGRESS);
}

TEST_CASE("ctl: fd takes what may be a transport") {
    Device device(1);
    const auto c = device.connect();
    CHECK(ctl(*c, "fd 3") == EBADF);
    const UniqueFd listener = listen_on_loopback();
    CHECK(ctl(*c, "fd 3", {{3, listener.get()}}) == EOPNOTSUPP);
    auto [ours, theirs] = socket_pair();
    CHECK(ctl(*c, "fd 3 4", {{3, ours.get()}}) == EBADF);
    CHECK(ctl(*c, "fd 3 4", {{3, ours.get()}, {4, listener.get()}}) == EOPNOTSUPP);
    CHECK(ctl(*c, "fd 3 3", {{3, ours.get()}}) == 0);
}

TEST_CASE("ctl: a waiting line refuses all others but hangup") {
    Device device;
    const auto c = device.connect();
    auto [ours, theirs] = socket_pair();
    const auto waiting = start_ctl(*c, "fd 3\nverify none\nclient\nclose\n", {{3, ours.get()}});
    CHECK_FALSE(waiting->given());
    CHECK(has_line(c->status(), "State: Handshaking"));
    CHECK(ctl(*c, "close") == EBUSY);
    CHECK(ctl(*c, "session on") == EBUSY);
    CHECK(ctl(*c, "client") == EBUSY);
    CHECK(c->open_data().error().code == ENOTCONN);
    CHECK(c->peer().error().code == ENOTCONN);
    CHECK(ctl(*c, "hangup") == 0);
    CHECK(waiting->code() == ECONNABORTED);
    CHECK(c->open_data().error().code == ECONNABORTED);
}

TEST_CASE("ctl: O_NONBLOCK goes on in the background, with the lines behind") {
    Device device;
    const auto client = device.connect(), server = device.connect();
    auto [ours, theirs] = socket_pair();
    REQUIRE(write_pem(*client, PemFile::ca, world().authority.pem()));
    REQUIRE(write_pem(*server, PemFile::cert, world().server.pem()));
    REQUIRE(write_pem(*server, PemFile::key, world().server.key_pem()));
    CHECK(
        start_ctl(*client, "fd 3\nclient server.test\nclose\n", {{3, ours.get()}}, true)->code() ==
        EINPROGRESS);
    Wakes wakes;
    CHECK((client->poll_ctl(&wakes, wakes.poller()) & POLLIN) == 0);
    CHECK(ctl(*server, "fd 3\nserver\n", {{3, theirs.get()}}) == 0);
    wakes.wait();
    CHECK((client->poll_ctl(&wakes, nullptr) & (POLLIN | POLLERR)) == POLLIN);
    CHECK(has_line(client->status(), "State: LocalClosed"));
    CHECK(start_read(*server)->data().empty());
}

TEST_CASE("ctl: poll says when a handshake in the background has failed") {
    Device device;
    const auto c = device.connect();
    auto [ours, theirs] = socket_pair();
    CHECK(start_ctl(*c, "fd 3\nverify none\nclient\n", {{3, ours.get()}}, true)->code() ==
          EINPROGRESS);
    Wakes wakes;
    CHECK((c->poll_ctl(&wakes, wakes.poller()) & POLLIN) == 0);
    theirs.reset();
    wakes.wait();
    CHECK((c->poll_ctl(&wakes, nullptr) & (POLLIN | POLLERR)) == (POLLIN | POLLERR));
    CHECK(has_line(c->status(), "State: Error"));
    CHECK(c->open_data().error().code == ECONNRESET);
}

// One that asks without wanting to be told must not take the wake-up from one that does.
TEST_CASE("ctl: a poll without a poller leaves the others' alone") {
    Device device;
    const auto c = device.connect();
    auto [ours, theirs] = socket_pair();
    CHECK(start_ctl(*c, "fd 3\nverify none\nclient\n", {{3, ours.get()}}, true)->code() ==
          EINPROGRESS);
    Wakes wakes;
    (void)c->poll_ctl(&wakes, wakes.poller());
    (void)c->poll_ctl(&wakes, nullptr);
    REQUIRE(ctl(*c, "hangup") == 0);
    CHECK(wakes.count() == 1);
}

TEST_CASE("ctl: a signal ends the wait, not the handshake") {
    Device device;
    const auto client = device.connect(), server = device.connect();
    auto [ours, theirs] = socket_pair();
    REQUIRE(write_pem(*client, PemFile::ca, world().authority.pem()));
    REQUIRE(write_pem(*server, PemFile::cert, world().server.pem()));
    REQUIRE(write_pem(*server, PemFile::key, world().server.key_pem()));
    SUBCASE("before it is parked") {
        const auto answer =
            start_ctl(*client, "fd 3\nclient server.test\nclose\n", {{3, ours.get()}}, false, true);
        CHECK(answer->code() == EINTR);
    }
    SUBCASE("after") {
        const auto answer =
            start_ctl(*client, "fd 3\nclient server.test\nclose\n", {{3, ours.get()}});
        CHECK_FALSE(answer->given());
        client->signalled();
        CHECK_FALSE(answer->given());  // it was for somebody else
        answer->interrupted = true;
        client->signalled();
        CHECK(answer->code() == EINTR);
    }
    Wakes wakes;
    (void)client->poll_ctl(&wakes, wakes.poller());
    CHECK(ctl(*server, "fd 3\nserver\n", {{3, theirs.get()}}) == 0);
    CHECK(start_write(*server, "hello")->code() == 0);
    wakes.wait();
    CHECK(has_line(client->status(), "State: Established"));  // `close` was dropped
    CHECK(start_read(*client)->data() == "hello");
}

TEST_CASE("ctl: dial, and what its failure leaves behind") {
    Device device;
    UniqueFd listener = listen_on_loopback();
    const std::string port = std::to_string(port_of(listener.get()));
    listener.reset();
    const auto c = device.connect();
    REQUIRE(write_pem(*c, PemFile::ca, world().authority.pem()));
    CHECK(ctl(*c, "dial 127.0.0.1:" + port) == ECONNREFUSED);
    CHECK(has_line(c->status(), "State: New"));
    CHECK(ctl(*c, "client server.test") == ENOTCONN);
    auto [ours, theirs] = tcp_pair();
    CHECK(ctl(*c, "fd 3", {{3, ours.get()}}) == 0);
    CHECK(start_ctl(*c, "client", {}, true)->code() == EINPROGRESS);
    CHECK(has_line(c->status(), "Name: 127.0.0.1"));
}

// What is looked for in the certificate is the transport's, not that of a dial which came to
// nothing.
TEST_CASE("ctl: the host of a dial that failed is not the name of another transport") {
    Device device;
    UniqueFd listener = listen_on_loopback();
    const std::string port = std::to_string(port_of(listener.get()));
    listener.reset();
    const auto c = device.connect();
    CHECK(ctl(*c, "dial localhost:" + port) == ECONNREFUSED);
    auto [ours, theirs] = tcp_pair();
    CHECK(ctl(*c, "verify none\nfd 3", {{3, ours.get()}}) == 0);
    CHECK(start_ctl(*c, "client", {}, true)->code() == EINPROGRESS);
    CHECK(has_line(c->status(), "Name: 127.0.0.1"));
}

TEST_CASE("ctl: dial and handshake in one write, and the dialled host is the name") {
    Device device;
    const UniqueFd listener = listen_on_loopback();
    const auto client = device.connect(), server = device.connect();
    Wanted wanted;
    wanted.dns = {"localhost"};
    const Certificate localhost = make_certificate(wanted, &world().authority);
    REQUIRE(write_pem(*client, PemFile::ca, world().authority.pem()));
    REQUIRE(write_pem(*server, PemFile::cert, localhost.pem()));
    REQUIRE(write_pem(*server, PemFile::key, localhost.key_pem()));
    const auto answer = start_ctl(
        *client, "dial localhost:" + std::to_string(port_of(listener.get())) + "\nclient\n");
    const UniqueFd accepted = checked(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    CHECK(ctl(*server, "fd 3\nserver\n", {{3, accepted.get()}}) == 0);
    CHECK(answer->code() == 0);
    CHECK(has_line(client->status(), "Name: localhost"));
    CHECK(has_line(client->status(), "Verify: ok"));
    CHECK(has_line(server->status(), "Name: localhost"));
}

TEST_CASE("ctl: hangup breaks a dial off") {
    Device device;
    const UniqueFd listener = listen_on_loopback(AF_INET, 0);
    const auto waiting = [&] {
        std::vector<UniqueFd> crowd;
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        to.sin_port = htons(port_of(listener.get()));
        for (int i = 0; i < 8; ++i) {
            crowd.push_back(
                checked(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)));
            (void)connect(crowd.back().get(), reinterpret_cast<sockaddr*>(&to), sizeof to);
        }
        return crowd;
    }();
    const auto c = device.connect();
    const auto answer =
        start_ctl(*c, "dial 127.0.0.1:" + std::to_string(port_of(listener.get())) + "\nclient x\n");
    CHECK_FALSE(answer->given());
    CHECK(ctl(*c, "session on") == EBUSY);
    CHECK(ctl(*c, "hangup") == 0);
    CHECK(answer->code() == ECONNABORTED);
}

TEST_CASE("ctl: dial's timeout") {
    Device device;
    const UniqueFd silent = listen_on_loopback();  // accepts, and says nothing
    const auto c = device.connect();
    CHECK(ctl(*c, "timeout 0.05\nverify none\ndial 127.0.0.1:" +
                      std::to_string(port_of(silent.get())) + "\nclient\n") == ETIMEDOUT);
    CHECK(has_line(c->status(), "State: Error"));
    CHECK(c->open_data().error().code == ETIMEDOUT);
}

// UBSan looks at an exception's type through a pipe, and there is none to be had here.
#ifndef __SANITIZE_ADDRESS__
TEST_CASE("ctl: no descriptor left is an error, not the companion's end") {
    Device device;
    const auto c = device.connect();
    rlimit before{};
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    const rlimit none{3, before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    int code = 0;
    CHECK_NOTHROW(code = ctl(*c, "dial 127.0.0.1:1"));
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(code == EMFILE);
}
#endif

TEST_CASE("attach: as fd, and refused in the same way") {
    Device device(1);
    const auto c = device.connect();
    const auto refused = c->attach(listen_on_loopback(), {});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == EOPNOTSUPP);
    CHECK(c->status().find("Error: ") != std::string::npos);
    auto [ours, theirs] = socket_pair();
    CHECK(c->attach(std::move(ours), {}));
    CHECK(c->attach(std::move(theirs), {}).error().code == EBUSY);
    CHECK(ctl(*c, "hangup") == 0);
    CHECK(c->attach(std::move(socket_pair().a), {}).error().code == EBUSY);
}

TEST_CASE("pem: judged when whole, and at the latest at the end") {
    Device device(1);
    const auto c = device.connect();
    CHECK(write_pem(*c, PemFile::key, world().server.key_pem()));
    CHECK(write_pem(*c, PemFile::key, world().server.encrypted_key_pem()).error().code == EINVAL);
    CHECK(c->status().find("encrypted") != std::string::npos);
    CHECK(write_pem(*c, PemFile::cert, "garbage").error().code == EINVAL);
    CHECK(write_pem(*c, PemFile::cert, world().server.key_pem()).error().code == EINVAL);
    // In two writes.
    const std::string pem = world().server.pem();
    REQUIRE(c->pem_begin(PemFile::cert, false));
    CHECK(c->pem_write(PemFile::cert, std::span(pem).first(100)));
    CHECK(c->pem_write(PemFile::cert, std::span(pem).subspan(100)));
    CHECK(c->pem_finish(PemFile::cert));
    // One more behind it.
    CHECK(write_pem(*c, PemFile::cert, world().authority.pem(), true));
    REQUIRE(c->pem_begin(PemFile::cert, false));
    CHECK(c->pem_write(PemFile::cert, std::span(pem).first(100)));
    CHECK(c->pem_finish(PemFile::cert).error().code == EINVAL);
}

TEST_CASE("pem: too large, and too late") {
    Device device(1);
    const auto c = device.connect();
    REQUIRE(c->pem_begin(PemFile::ca, false));
    const std::string half(bounds::kPem / 2 + 1, 'x');
    CHECK(c->pem_write(PemFile::ca, half));
    CHECK(c->pem_write(PemFile::ca, half).error().code == EFBIG);
    auto [ours, theirs] = socket_pair();
    CHECK(ctl(*c, "fd 3\nclient x", {{3, ours.get()}}) == EINVAL);
    REQUIRE(write_pem(*c, PemFile::ca, world().authority.pem()));
    CHECK(start_ctl(*c, "client x", {}, true)->code() == EINPROGRESS);
    CHECK(c->pem_begin(PemFile::ca, true).error().code == EBUSY);
    CHECK(c->pem_write(PemFile::ca, half).error().code == EBUSY);
    CHECK(c->pem_finish(PemFile::ca));
}

TEST_CASE("pem: a bad ca does not fall back to the machine's trust") {
    Device device(1);
    const auto c = device.connect();
    auto [ours, theirs] = socket_pair();
    CHECK(ctl(*c, "fd 3", {{3, ours.get()}}) == 0);
    CHECK_FALSE(write_pem(*c, PemFile::ca, "garbage"));
    CHECK(ctl(*c, "client x") == EINVAL);
    // Half a file, not closed yet.
    REQUIRE(c->pem_begin(PemFile::ca, false));
    const std::string pem = world().authority.pem();
    REQUIRE(c->pem_write(PemFile::ca, std::span(pem).first(50)));
    CHECK(ctl(*c, "client x") == EINVAL);
}

// `cat missing.pem >0/ca`: the shell has opened it, cat wrote nothing.
TEST_CASE("pem: an empty ca is a bad one") {
    Device device(1);
    const auto c = device.connect();
    auto [ours, theirs] = socket_pair();
    CHECK(ctl(*c, "fd 3", {{3, ours.get()}}) == 0);
    REQUIRE(c->pem_begin(PemFile::ca, false));
    CHECK(c->pem_finish(PemFile::ca));  // the shell's own copy, before cat has begun
    CHECK(c->status().find("Error") == std::string::npos);
    REQUIRE(start_ctl(*c, "client x", {}, true)->code() == EINVAL);
    CHECK(c->status().find("ca: opened") != std::string::npos);
    CHECK(write_pem(*c, PemFile::ca, world().authority.pem()));
    CHECK(start_ctl(*c, "client x", {}, true)->code() == EINPROGRESS);
}

TEST_CASE("pem: a key that does not fit") {
    Device device(1);
    const auto c = device.connect();
    auto [ours, theirs] = socket_pair();
    REQUIRE(write_pem(*c, PemFile::cert, world().server.pem()));
    REQUIRE(write_pem(*c, PemFile::key, world().authority.key_pem()));
    CHECK(ctl(*c, "fd 3\nserver", {{3, ours.get()}}) == EINVAL);
    CHECK(c->status().find("does not fit") != std::string::npos);
    REQUIRE(write_pem(*c, PemFile::key, world().server.key_pem()));
    CHECK(start_ctl(*c, "server", {}, true)->code() == EINPROGRESS);
}

TEST_CASE("ctl: a write of too many lines does nothing") {
    Device device(1);
    const auto c = device.connect();
    std::string lines;
    for (std::size_t i = 0; i < bounds::kCtlLines; ++i) lines += "groups X25519\n";
    CHECK(ctl(*c, lines) == 0);
    CHECK(ctl(*c, lines + "hangup\n") == EINVAL);
    CHECK(has_line(c->status(), "State: New"));
    CHECK(c->status().find("Error: a write has at most 64 lines\n") != std::string::npos);
}

// A file system that does not answer would collect them until nobody has any left.
TEST_CASE("ctl: descriptors that wait to be closed have a bound") {
    Device device(1);
    const auto c = device.connect();
    std::promise<void> release;
    const auto gate = release.get_future().share();
    for (int i = 0; i < 32; ++i) device.background.run(kUser.uid, [gate] { gate.wait(); });
    const UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (std::size_t i = 0; i < bounds::kClosing; ++i) {
        CHECK(ctl(*c, "fd 3", {{3, file.get()}}) == EOPNOTSUPP);
    }
    CHECK(ctl(*c, "fd 3", {{3, file.get()}}) == EMFILE);
    const auto other = device.connect({kUser.uid + 1, kUser.gid});
    CHECK(ctl(*other, "fd 3", {{3, file.get()}}) == EOPNOTSUPP);
    release.set_value();
    while (ctl(*c, "fd 3", {{3, file.get()}}) == EMFILE) std::this_thread::yield();
}
