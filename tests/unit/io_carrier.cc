// SPDX-License-Identifier: MIT
#include "io/carrier.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>

#include <optional>

#include "support/descriptors.h"

using namespace tlsfs;
using namespace tlsfs::test;
using Outcome = Transfer::Outcome;

namespace {

int flags_of(int fd) {
    return fcntl(fd, F_GETFL);
}

std::string read_text(Carrier& carrier) {
    std::array<std::byte, 4096> buffer{};
    const Transfer got = carrier.read(buffer);
    REQUIRE(got.outcome == Outcome::bytes);
    return text(std::span(buffer).first(got.count));
}

void check_refused(UniqueFd read, UniqueFd write, int code) {
    const int read_number = read.get();
    const auto carrier = Carrier::adopt(read, write, kNoMount);
    REQUIRE_FALSE(carrier);
    CHECK(carrier.error().code == code);
    CHECK_FALSE(carrier.error().text.empty());
    // One of the two may have been taken already, but the one that was refused stays.
    CHECK((read.get() == read_number || write.valid()));
}

// Writes until nothing more goes in. Returns how much went.
std::size_t fill(Carrier& carrier) {
    const std::string piece(1000, 'x');
    std::size_t sent = 0;
    for (;;) {
        const Transfer one = carrier.write(bytes(piece));
        if (one.outcome == Outcome::would_block) return sent;
        REQUIRE(one.outcome == Outcome::bytes);
        REQUIRE(one.count <= piece.size());
        sent += one.count;
        REQUIRE(sent < (64U << 20U));
    }
}

void check_both_ways(Carrier& carrier, int other_read, int other_write) {
    std::array<std::byte, 16> nothing{};
    CHECK(carrier.read(nothing).outcome == Outcome::would_block);
    REQUIRE(::write(other_write, "to us", 5) == 5);
    CHECK(read_text(carrier) == "to us");
    const Transfer sent = carrier.write(bytes("to them"));
    REQUIRE(sent.outcome == Outcome::bytes);
    CHECK(sent.count == 7);
    std::array<char, 16> got{};
    REQUIRE(::read(other_read, got.data(), got.size()) == 7);
    CHECK(std::string(got.data()) == "to them");
}

struct Terminal {
    UniqueFd master, slave;
};

// Nothing where the machine has no pseudo-terminals.
std::optional<Terminal> raw_terminal() {
    Terminal terminal{UniqueFd(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)), {}};
    if (!terminal.master.valid() || grantpt(terminal.master.get()) != 0 ||
        unlockpt(terminal.master.get()) != 0) {
        return std::nullopt;
    }
    std::array<char, 64> name{};
    if (ptsname_r(terminal.master.get(), name.data(), name.size()) != 0) return std::nullopt;
    terminal.slave = UniqueFd(open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!terminal.slave.valid()) return std::nullopt;
    termios settings{};
    tcgetattr(terminal.slave.get(), &settings);
    cfmakeraw(&settings);
    tcsetattr(terminal.slave.get(), TCSANOW, &settings);
    return terminal;
}

}  // namespace

TEST_CASE("carrier: TCP") {
    auto [ours, theirs] = tcp_pair();
    const std::string local = "127.0.0.1:" + std::to_string(port_of(ours.get()));
    const UniqueFd callers = duplicate(ours);
    const int flags = flags_of(callers.get());
    auto carrier = adopt(std::move(ours));
    REQUIRE(carrier);
    CHECK(carrier->one_fd());
    check_both_ways(*carrier, theirs.get(), theirs.get());
    CHECK(carrier->local() == local);
    CHECK(carrier->remote() == "127.0.0.1:" + std::to_string(port_of(theirs.get())));
    CHECK(carrier->remote_ip() == "127.0.0.1");
    CHECK(fill(*carrier) > 0);
    CHECK_FALSE(carrier->all_delivered());
    CHECK(flags_of(callers.get()) == flags);
    theirs.reset();  // with unread bytes: a reset
    std::array<std::byte, 16> nothing{};
    Transfer end = carrier->read(nothing);
    CHECK((end.outcome == Outcome::failed || end.outcome == Outcome::end_of_file));
}

TEST_CASE("carrier: Unix sockets and socketpairs") {
    auto [ours, theirs] = socket_pair();
    const UniqueFd callers = duplicate(ours);
    const int flags = flags_of(callers.get());
    auto carrier = adopt(std::move(ours));
    REQUIRE(carrier);
    check_both_ways(*carrier, theirs.get(), theirs.get());
    CHECK(carrier->remote().empty());
    CHECK(carrier->remote_ip().empty());
    CHECK(carrier->all_delivered());
    CHECK(fill(*carrier) > 0);
    CHECK(flags_of(callers.get()) == flags);
    theirs.reset();
    CHECK(carrier->write(bytes("x")).error == EPIPE);
}

TEST_CASE("carrier: a pair of pipes") {
    auto [their_read, our_write] = pipe_pair();
    auto [our_read, their_write] = pipe_pair();
    const UniqueFd callers_read = duplicate(our_read), callers_write = duplicate(our_write);
    const int read_flags = flags_of(callers_read.get()),
              write_flags = flags_of(callers_write.get());
    auto carrier = adopt(std::move(our_read), std::move(our_write));
    REQUIRE(carrier);
    CHECK_FALSE(carrier->one_fd());
    check_both_ways(*carrier, their_read.get(), their_write.get());
    CHECK(fill(*carrier) > 0);
    CHECK(flags_of(callers_read.get()) == read_flags);
    CHECK(flags_of(callers_write.get()) == write_flags);
    their_write.reset();
    std::array<std::byte, 16> nothing{};
    CHECK(carrier->read(nothing).outcome == Outcome::end_of_file);
    their_read.reset();
    CHECK(carrier->write(bytes("x")).error == EPIPE);
}

TEST_CASE("carrier: two sockets, one for each way") {
    auto [a, b] = socket_pair();
    auto [c, d] = socket_pair();
    auto carrier = adopt(std::move(a), std::move(c));
    REQUIRE(carrier);
    check_both_ways(*carrier, d.get(), b.get());
}

TEST_CASE("carrier: a terminal, its slave side") {
    auto terminal = raw_terminal();
    if (!terminal) return;
    const UniqueFd callers = duplicate(terminal->slave);
    const int flags = flags_of(callers.get());
    auto carrier = adopt(std::move(terminal->slave));
    REQUIRE(carrier);
    check_both_ways(*carrier, terminal->master.get(), terminal->master.get());
    CHECK(fill(*carrier) > 0);  // the master does not read
    CHECK(flags_of(callers.get()) == flags);
}

TEST_CASE("carrier: a terminal, its master side") {
    auto terminal = raw_terminal();
    if (!terminal) return;
    const UniqueFd callers = duplicate(terminal->master);
    const int flags = flags_of(callers.get());
    auto carrier = adopt(std::move(terminal->master));
    REQUIRE(carrier);
    check_both_ways(*carrier, terminal->slave.get(), terminal->slave.get());
    CHECK(fill(*carrier) > 0);  // the slave does not read: nothing may hang
    CHECK(flags_of(callers.get()) == flags);
    terminal->slave.reset();
    std::array<std::byte, 16> nothing{};
    CHECK(carrier->read(nothing).outcome == Outcome::end_of_file);
}

TEST_CASE("carrier: what is no connected stream is refused") {
    check_refused(listen_on_loopback(), {}, EOPNOTSUPP);
    check_refused(std::move(socket_pair(SOCK_DGRAM).a), {}, EOPNOTSUPP);
    check_refused(std::move(socket_pair(SOCK_SEQPACKET).a), {}, EOPNOTSUPP);
    check_refused(checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), {}, EOPNOTSUPP);
    check_refused(checked(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), {}, EOPNOTSUPP);
    check_refused(checked(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), {}, EOPNOTSUPP);
    check_refused(checked(open("/dev/null", O_RDWR | O_CLOEXEC)), {}, EOPNOTSUPP);
    check_refused(checked(memfd_create("test", MFD_CLOEXEC)), {}, EOPNOTSUPP);
    check_refused(checked(epoll_create1(EPOLL_CLOEXEC)), {}, EOPNOTSUPP);
}

TEST_CASE("carrier: pipes only in the direction they have") {
    check_refused(std::move(pipe_pair().a), {}, EOPNOTSUPP);
    check_refused(std::move(pipe_pair().b), {}, EOPNOTSUPP);
    Ends one = pipe_pair(), other = pipe_pair();
    check_refused(std::move(one.b), std::move(other.a), EOPNOTSUPP);
    Ends third = pipe_pair(), fourth = pipe_pair();
    check_refused(std::move(third.a), std::move(fourth.a), EOPNOTSUPP);
}

TEST_CASE("carrier: a path descriptor is none") {
    check_refused(checked(open("/", O_PATH | O_CLOEXEC)), {}, EOPNOTSUPP);
}

TEST_CASE("carrier: a file of the own mount is ELOOP") {
    UniqueFd file = checked(memfd_create("test", MFD_CLOEXEC)), none;
    struct stat info{};
    REQUIRE(fstat(file.get(), &info) == 0);
    const auto carrier = Carrier::adopt(file, none, info.st_dev);
    REQUIRE_FALSE(carrier);
    CHECK(carrier.error().code == ELOOP);
    CHECK(file.valid());
}

TEST_CASE("carrier: discarding what has arrived ends") {
    auto [ours, theirs] = socket_pair();
    auto carrier = adopt(std::move(ours));
    REQUIRE(carrier);
    REQUIRE(::write(theirs.get(), "abc", 3) == 3);
    carrier->discard_input();
    std::array<std::byte, 16> nothing{};
    CHECK(carrier->read(nothing).outcome == Outcome::would_block);
}

// SO_LINGER of the caller would make our close(2), if it is the last, wait as long as the caller
// likes.
TEST_CASE("carrier: closing does not linger at the caller's word") {
    auto [ours, theirs] = tcp_pair();
    const linger hour{1, 3600};
    REQUIRE(setsockopt(ours.get(), SOL_SOCKET, SO_LINGER, &hour, sizeof hour) == 0);
    const UniqueFd callers = duplicate(ours);
    auto carrier = adopt(std::move(ours));
    REQUIRE(carrier);
    REQUIRE(setsockopt(callers.get(), SOL_SOCKET, SO_LINGER, &hour, sizeof hour) == 0);
    *carrier = Carrier();
    linger now{};
    socklen_t size = sizeof now;
    REQUIRE(getsockopt(callers.get(), SOL_SOCKET, SO_LINGER, &now, &size) == 0);
    CHECK(now.l_onoff == 0);
}
