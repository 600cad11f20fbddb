// SPDX-License-Identifier: MIT
#include "io/socket_pairs.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <set>
#include <thread>
#include <vector>

#include "support/addresses.h"
#include "support/descriptors.h"
#include "support/pairs.h"

using namespace tlsfs;
using namespace tlsfs::test;

namespace {

int option(const UniqueFd& fd, int level, int name) {
    int value = -12345;
    socklen_t size = sizeof value;
    REQUIRE(getsockopt(fd.get(), level, name, &value, &size) == 0);
    return value;
}

std::pair<int, int> lingers(const UniqueFd& fd) {
    linger value{};
    socklen_t size = sizeof value;
    REQUIRE(getsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &value, &size) == 0);
    return {value.l_onoff, value.l_linger};
}

void check_data_passes(const DataPair& pair) {
    std::array<char, 16> got{};
    REQUIRE(write(pair.programs.get(), "to us", 5) == 5);
    REQUIRE(read(pair.ours.get(), got.data(), got.size()) == 5);
    CHECK(std::string(got.data()) == "to us");
    REQUIRE(write(pair.ours.get(), "to them", 7) == 7);
    REQUIRE(read(pair.programs.get(), got.data(), got.size()) == 7);
    CHECK(std::string(got.data()) == "to them");
}

}  // namespace

TEST_CASE("socket pairs: any addresses") {
    struct Case {
        const char* what;
        sockaddr_storage local, remote;
        const char *local_name, *remote_name;
    };
    const std::array cases{
        Case{"IPv4", address("192.0.2.7", 50123), address("198.51.100.9", 443), "192.0.2.7 50123",
             "198.51.100.9 443"},
        Case{"loopback", address("127.0.0.1", 50123), address("127.0.0.1", 443), "127.0.0.1 50123",
             "127.0.0.1 443"},
        Case{"one address", address("10.1.2.3", 443), address("10.1.2.3", 50123), "10.1.2.3 443",
             "10.1.2.3 50123"},
        Case{"IPv6", address("2001:db8::7", 50123), address("2001:db8::9", 22), "2001:db8::7 50123",
             "2001:db8::9 22"},
        Case{"IPv6 loopback", address("::1", 50123), address("::1", 22), "::1 50123", "::1 22"},
        Case{"mapped", address("::ffff:192.0.2.7", 50123), address("::ffff:198.51.100.9", 443),
             "::ffff:192.0.2.7 50123", "::ffff:198.51.100.9 443"},
    };
    const auto pairs = start_pairs();
    if (!pairs) return;
    for (const Case& one : cases) {
        CAPTURE(one.what);
        const auto pair = pairs->make(one.local, one.remote);
        REQUIRE_MESSAGE(pair, (pair ? "" : pair.error().text));
        CHECK(name_of(pair->programs, getsockname) == one.local_name);
        CHECK(name_of(pair->programs, getpeername) == one.remote_name);
        CHECK(name_of(pair->ours, getsockname) == one.remote_name);
        CHECK(name_of(pair->ours, getpeername) == one.local_name);
        check_data_passes(*pair);
    }
}

TEST_CASE("socket pairs: link-local addresses keep their zone, or have the loopback's") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    for (const std::uint32_t zone : {77U, 1U, 77U, 4000U}) {
        CAPTURE(zone);
        const auto pair =
            pairs->make(address("fe80::7", 50123, zone), address("fe80::9", 22, zone));
        REQUIRE_MESSAGE(pair, (pair ? "" : pair.error().text));
        const std::string peer = name_of(pair->programs, getpeername);
        CHECK((peer == "fe80::9%" + std::to_string(zone) + " 22" || peer == "fe80::9%1 22"));
        check_data_passes(*pair);
    }
    // One address of the two may be of another scope.
    const auto mixed = pairs->make(address("2001:db8::1", 1), address("fe80::9", 22, 77));
    if (mixed) check_data_passes(*mixed);
}

TEST_CASE("socket pairs: for no TCP transport, addresses of the loopback") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    std::vector<DataPair> all;
    std::set<std::string> names;
    for (int i = 0; i < 100; ++i) {
        auto pair = pairs->make();
        REQUIRE_MESSAGE(pair, (pair ? "" : pair.error().text));
        CHECK(name_of(pair->programs, getsockname) == name_of(pair->ours, getpeername));
        CHECK(name_of(pair->programs, getpeername) == name_of(pair->ours, getsockname));
        CHECK(name_of(pair->programs, getpeername).starts_with("127.0.0.1 "));
        names.insert(name_of(pair->programs, getsockname) + name_of(pair->ours, getsockname));
        check_data_passes(*pair);
        all.push_back(std::move(*pair));
    }
    CHECK(names.size() == 100);
}

TEST_CASE("socket pairs: options and flags") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    // Either end may have been the one that listened.
    for (const bool server : {false, true}) {
        const std::uint16_t port = server ? 443 : 50123, remote = server ? 50123 : 443;
        const auto pair = pairs->make(address("192.0.2.7", port), address("198.51.100.9", remote));
        REQUIRE(pair);
        for (const UniqueFd* fd : {&pair->ours, &pair->programs}) {
            CHECK(option(*fd, IPPROTO_TCP, TCP_NODELAY) != 0);
            CHECK((fcntl(fd->get(), F_GETFD) & FD_CLOEXEC) != 0);
        }
        CHECK((fcntl(pair->ours.get(), F_GETFL) & O_NONBLOCK) != 0);
        CHECK((fcntl(pair->programs.get(), F_GETFL) & O_NONBLOCK) == 0);
        CHECK(lingers(pair->ours) == std::pair(1, 0));
        CHECK(lingers(pair->programs).first == 0);
        CHECK(option(pair->programs, IPPROTO_TCP, TCP_LINGER2) == -1);
        CHECK(option(pair->programs, SOL_SOCKET, SO_ERROR) == 0);
        CHECK(option(pair->programs, SOL_SOCKET, SO_ACCEPTCONN) == 0);
    }
}

TEST_CASE("socket pairs: the last close is no half-close, and comes after all bytes") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    auto pair = pairs->make(address("192.0.2.7", 50123), address("198.51.100.9", 443));
    REQUIRE(pair);
    CHECK(events_of(pair->ours) == 0);
    REQUIRE(shutdown(pair->programs.get(), SHUT_WR) == 0);
    await(pair->ours, POLLRDHUP);
    CHECK(events_of(pair->ours) == (POLLIN | POLLRDHUP));
    REQUIRE(write(pair->ours.get(), "still", 5) == 5);
    std::array<char, 16> got{};
    CHECK(read(pair->programs.get(), got.data(), got.size()) == 5);
    CHECK(events_of(pair->ours) == (POLLIN | POLLRDHUP));
    pair->programs.reset();
    await(pair->ours, POLLHUP);
    CHECK((events_of(pair->ours) & (POLLHUP | POLLERR)) == (POLLHUP | POLLERR));

    // A last close with bytes under way, and no half-close before.
    auto second = pairs->make(address("192.0.2.7", 50124), address("198.51.100.9", 443));
    REQUIRE(second);
    const std::size_t sent = fill(second->programs);
    second->programs.reset();
    CHECK(drain(second->ours).first == sent);
    await(second->ours, POLLHUP);
}

TEST_CASE("socket pairs: a broken stream is a reset after all bytes that came before") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    auto pair = pairs->make(address("2001:db8::7", 50123), address("2001:db8::9", 443));
    REQUIRE(pair);
    const std::string text(100'000, 'x');
    REQUIRE(write(pair->ours.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    int unsent = -1;
    REQUIRE(ioctl(pair->ours.get(), TIOCOUTQ, &unsent) == 0);
    CHECK(unsent == 0);
    pair->ours.reset();  // as if we had died
    CHECK(drain(pair->programs) == std::pair(text.size(), ECONNRESET));
}

TEST_CASE("socket pairs: our end can end well too") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    auto pair = pairs->make(address("192.0.2.7", 50123), address("198.51.100.9", 443));
    REQUIRE(pair);
    REQUIRE(write(pair->ours.get(), "last", 4) == 4);
    REQUIRE(shutdown(pair->ours.get(), SHUT_WR) == 0);
    CHECK(drain(pair->programs) == std::pair<std::size_t, int>(4, 0));
    const linger none{0, 0};
    REQUIRE(setsockopt(pair->ours.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0);
    pair->ours.reset();
    CHECK(drain(pair->programs) == std::pair<std::size_t, int>(0, 0));
}

// A program that exits with unread input makes its kernel drop what it had sent and not delivered.
TEST_CASE("socket pairs: what a program has sent lies in our queue, even if we read nothing") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    for (const std::size_t size : {1U, 100U, 16U << 10U, 256U << 10U}) {
        CAPTURE(size);
        auto pair = pairs->make(address("192.0.2.7", 50123), address("198.51.100.9", 443));
        REQUIRE(pair);
        REQUIRE(write(pair->ours.get(), "unread", 6) == 6);
        const std::vector<char> piece(size, 'x');
        std::size_t sent = 0;
        for (int i = 0; i < 150 && sent < (256U << 10U); ++i) {
            const ssize_t one = send(pair->programs.get(), piece.data(), size, MSG_DONTWAIT);
            REQUIRE(one > 0);
            sent += static_cast<std::size_t>(one);
        }
        int in = -1;
        REQUIRE(ioctl(pair->ours.get(), FIONREAD, &in) == 0);
        CHECK(static_cast<std::size_t>(in) == sent);
        pair->programs.reset();
        CHECK(drain(pair->ours) == std::pair(sent, ECONNRESET));
    }
}

TEST_CASE("socket pairs: the same numbers again, while the last pair lives and after it") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    const auto local = address("192.0.2.7", 50123), remote = address("198.51.100.9", 443);
    std::vector<DataPair> living;
    for (int i = 0; i < 20; ++i) {
        auto pair = pairs->make(local, remote);
        REQUIRE_MESSAGE(pair, (pair ? "" : pair.error().text));
        CHECK(name_of(pair->programs, getsockname) == "192.0.2.7 50123");
        living.push_back(std::move(*pair));
    }
    for (const DataPair& pair : living) check_data_passes(pair);
    living.clear();
    for (int i = 0; i < 50; ++i) {
        auto pair = pairs->make(local, remote);
        REQUIRE(pair);
        check_data_passes(*pair);
        shutdown(pair->programs.get(), SHUT_WR);
        shutdown(pair->ours.get(), SHUT_WR);
    }
}

TEST_CASE("socket pairs: a thousand at a time, from several threads, to one port of a peer") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    std::vector<std::vector<DataPair>> made(4);
    std::vector<std::thread> threads;
    for (std::uint16_t thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, thread] {
            for (std::uint16_t i = 0; i < 250; ++i) {
                const auto port = static_cast<std::uint16_t>(10'000 + thread * 1000 + i);
                auto pair = pairs->make(address("192.0.2.7", port), address("198.51.100.9", 443));
                if (pair) made[thread].push_back(std::move(*pair));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    std::set<std::string> names;
    for (const auto& some : made) {
        CHECK(some.size() == 250);
        for (const DataPair& pair : some) {
            names.insert(name_of(pair.ours, getpeername));
            CHECK(name_of(pair.programs, getsockname) == name_of(pair.ours, getpeername));
            check_data_passes(pair);
        }
    }
    CHECK(names.size() == 1000);
}

TEST_CASE("socket pairs: addresses that no TCP connection has") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    const auto good = address("192.0.2.7", 50123);
    sockaddr_storage garbage;
    memset(&garbage, 0xff, sizeof garbage);
    sockaddr_storage unix_path{};
    unix_path.ss_family = AF_UNIX;
    const std::array bad{sockaddr_storage{},
                         garbage,
                         unix_path,
                         good,
                         address("0.0.0.0", 443),
                         address("224.0.0.1", 443),
                         address("::", 443),
                         address("198.51.100.9", 0),
                         address("ff02::1", 443),
                         address("255.255.255.255", 443),
                         address("::1", 443)};
    for (const auto& remote : bad) {
        const auto pair = pairs->make(good, remote);
        CHECK_FALSE(pair);
        CHECK_FALSE(pairs->make(remote, good));
        if (!pair) CHECK_FALSE(pair.error().text.empty());
    }
    CHECK(pairs->make(good, address("198.51.100.9", 443)));
}

// A program can do with its socket what it likes, in the namespace too.
TEST_CASE("socket pairs: a program that listens in the namespace is in nobody's way") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    const auto hostile = pairs->make();
    REQUIRE(hostile);
    const int fd = hostile->programs.get();
    const sockaddr_storage none{};
    REQUIRE(connect(fd, reinterpret_cast<const sockaddr*>(&none), sizeof none) == 0);
    const auto taken = address("203.0.113.1", 443);
    REQUIRE(bind(fd, reinterpret_cast<const sockaddr*>(&taken), sizeof(sockaddr_in)) == 0);
    REQUIRE(listen(fd, 10) == 0);
    const auto pair = pairs->make(address("192.0.2.8", 50123), taken);
    REQUIRE_MESSAGE(pair, (pair ? "" : pair.error().text));
    check_data_passes(*pair);
    pollfd entry{fd, POLLIN, 0};
    CHECK(poll(&entry, 1, 0) == 0);
}
