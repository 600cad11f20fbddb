// SPDX-License-Identifier: MIT
#include "io/byte_stream.h"

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

std::string read_text(ByteStream& stream) {
    std::array<std::byte, 4096> buffer{};
    const Transfer got = stream.read(buffer);
    REQUIRE(got.outcome == Outcome::bytes);
    return text(std::span(buffer).first(got.count));
}

void check_refused(UniqueFd read, UniqueFd write, int code) {
    const int read_number = read.get();
    const auto stream = ByteStream::adopt(read, write, kNoMount);
    REQUIRE_FALSE(stream);
    CHECK(stream.error().code == code);
    CHECK_FALSE(stream.error().text.empty());
    // One of the two may have been taken already, but the one that was refused stays.
    CHECK((read.get() == read_number || write.valid()));
}

// Writes until nothing more goes in. Returns how much went.
std::size_t fill(ByteStream& stream) {
    const std::string piece(1000, 'x');
    std::size_t sent = 0;
    for (;;) {
        const Transfer one = stream.write(bytes(piece));
        if (one.outcome == Outcome::would_block) return sent;
        REQUIRE(one.outcome == Outcome::bytes);
        REQUIRE(one.count <= piece.size());
        sent += one.count;
        REQUIRE(sent < (64U << 20U));
    }
}

void check_both_ways(ByteStream& stream, int other_read, int other_write) {
    std::array<std::byte, 16> nothing{};
    CHECK(stream.read(nothing).outcome == Outcome::would_block);
    REQUIRE(::write(other_write, "to us", 5) == 5);
    CHECK(read_text(stream) == "to us");
    const Transfer sent = stream.write(bytes("to them"));
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

TEST_CASE("byte stream: TCP") {
    auto [ours, theirs] = tcp_pair();
    const std::string local = "127.0.0.1:" + std::to_string(port_of(ours.get()));
    const UniqueFd callers = duplicate(ours);
    const int flags = flags_of(callers.get());
    auto stream = adopt(std::move(ours));
    REQUIRE(stream);
    CHECK(stream->one_fd());
    check_both_ways(*stream, theirs.get(), theirs.get());
    CHECK(stream->local() == local);
    CHECK(stream->remote() == "127.0.0.1:" + std::to_string(port_of(theirs.get())));
    CHECK(stream->remote_ip() == "127.0.0.1");
    CHECK(fill(*stream) > 0);
    CHECK_FALSE(stream->all_delivered());
    CHECK(flags_of(callers.get()) == flags);
    theirs.reset();  // with unread bytes: a reset
    std::array<std::byte, 16> nothing{};
    Transfer end = stream->read(nothing);
    CHECK((end.outcome == Outcome::failed || end.outcome == Outcome::end_of_file));
}

TEST_CASE("byte stream: Unix sockets and socketpairs") {
    auto [ours, theirs] = socket_pair();
    const UniqueFd callers = duplicate(ours);
    const int flags = flags_of(callers.get());
    auto stream = adopt(std::move(ours));
    REQUIRE(stream);
    check_both_ways(*stream, theirs.get(), theirs.get());
    CHECK(stream->remote().empty());
    CHECK(stream->remote_ip().empty());
    CHECK(stream->all_delivered());
    CHECK(fill(*stream) > 0);
    CHECK(flags_of(callers.get()) == flags);
    theirs.reset();
    CHECK(stream->write(bytes("x")).error == EPIPE);
}

TEST_CASE("byte stream: a pair of pipes") {
    auto [their_read, our_write] = pipe_pair();
    auto [our_read, their_write] = pipe_pair();
    const UniqueFd callers_read = duplicate(our_read), callers_write = duplicate(our_write);
    const int read_flags = flags_of(callers_read.get()),
              write_flags = flags_of(callers_write.get());
    auto stream = adopt(std::move(our_read), std::move(our_write));
    REQUIRE(stream);
    CHECK_FALSE(stream->one_fd());
    check_both_ways(*stream, their_read.get(), their_write.get());
    CHECK(fill(*stream) > 0);
    CHECK(flags_of(callers_read.get()) == read_flags);
    CHECK(flags_of(callers_write.get()) == write_flags);
    their_write.reset();
    std::array<std::byte, 16> nothing{};
    CHECK(stream->read(nothing).outcome == Outcome::end_of_file);
    their_read.reset();
    CHECK(stream->write(bytes("x")).error == EPIPE);
}

TEST_CASE("byte stream: two sockets, one for each way") {
    auto [a, b] = socket_pair();
    auto [c, d] = socket_pair();
    auto stream = adopt(std::move(a), std::move(c));
    REQUIRE(stream);
    check_both_ways(*stream, d.get(), b.get());
}

TEST_CASE("byte stream: a terminal, its slave side") {
    auto terminal = raw_terminal();
    if (!terminal) return;
    const UniqueFd callers = duplicate(terminal->slave);
    const int flags = flags_of(callers.get());
    auto stream = adopt(std::move(terminal->slave));
    REQUIRE(stream);
    check_both_ways(*stream, terminal->master.get(), terminal->master.get());
    CHECK(fill(*stream) > 0);  // the master does not read
    CHECK(flags_of(callers.get()) == flags);
}

TEST_CASE("byte stream: a terminal, its master side") {
    auto terminal = raw_terminal();
    if (!terminal) return;
    const UniqueFd callers = duplicate(terminal->master);
    const int flags = flags_of(callers.get());
    auto stream = adopt(std::move(terminal->master));
    REQUIRE(stream);
    check_both_ways(*stream, terminal->slave.get(), terminal->slave.get());
    CHECK(fill(*stream) > 0);  // the slave does not read: nothing may hang
    CHECK(flags_of(callers.get()) == flags);
    terminal->slave.reset();
    std::array<std::byte, 16> nothing{};
    CHECK(stream->read(nothing).outcome == Outcome::end_of_file);
}

TEST_CASE("byte stream: what is no connected stream is refused") {
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

TEST_CASE("byte stream: pipes only in the direction they have") {
    check_refused(std::move(pipe_pair().a), {}, EOPNOTSUPP);
    check_refused(std::move(pipe_pair().b), {}, EOPNOTSUPP);
    Ends one = pipe_pair(), other = pipe_pair();
    check_refused(std::move(one.b), std::move(other.a), EOPNOTSUPP);
    Ends third = pipe_pair(), fourth = pipe_pair();
    check_refused(std::move(third.a), std::move(fourth.a), EOPNOTSUPP);
}

TEST_CASE("byte stream: a path descriptor is none") {
    check_refused(checked(open("/", O_PATH | O_CLOEXEC)), {}, EOPNOTSUPP);
}

TEST_CASE("byte stream: a file of the own mount is ELOOP") {
    UniqueFd file = checked(memfd_create("test", MFD_CLOEXEC)), none;
    struct stat info{};
    REQUIRE(fstat(file.get(), &info) == 0);
    const auto stream = ByteStream::adopt(file, none, info.st_dev);
    REQUIRE_FALSE(stream);
    CHECK(stream.error().code == ELOOP);
    CHECK(file.valid());
}

TEST_CASE("byte stream: discarding what has arrived ends") {
    auto [ours, theirs] = socket_pair();
    auto stream = adopt(std::move(ours));
    REQUIRE(stream);
    REQUIRE(::write(theirs.get(), "abc", 3) == 3);
    stream->discard_input();
    std::array<std::byte, 16> nothing{};
    CHECK(stream->read(nothing).outcome == Outcome::would_block);
}

// SO_LINGER of the caller would make our close(2), if it is the last, wait as long as the caller
// likes.
TEST_CASE("byte stream: closing does not linger at the caller's word") {
    auto [ours, theirs] = tcp_pair();
    const linger hour{1, 3600};
    REQUIRE(setsockopt(ours.get(), SOL_SOCKET, SO_LINGER, &hour, sizeof hour) == 0);
    const UniqueFd callers = duplicate(ours);
    auto stream = adopt(std::move(ours));
    REQUIRE(stream);
    REQUIRE(setsockopt(callers.get(), SOL_SOCKET, SO_LINGER, &hour, sizeof hour) == 0);
    *stream = ByteStream();
    linger now{};
    socklen_t size = sizeof now;
    REQUIRE(getsockopt(callers.get(), SOL_SOCKET, SO_LINGER, &now, &size) == 0);
    CHECK(now.l_onoff == 0);
}
