// SPDX-License-Identifier: MIT
// The relay, with each kind of plain side: who sees what, and in which order.
#include "channel/relay.h"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include "support/fakes.h"

using namespace tlsfs;
using namespace tlsfs::test;

namespace {

// Waits for what other threads do.
template <class Condition>
bool soon(Condition condition) {
    for (int i = 0; i < 2000; ++i) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    return false;
}

std::string read_some(const UniqueFd& fd, std::size_t size = 1U << 16U) {
    std::string got(size, '\0');
    const ssize_t count = read(fd.get(), got.data(), got.size());
    REQUIRE(count >= 0);
    got.resize(static_cast<std::size_t>(count));
    return got;
}

std::string read_to_end(const UniqueFd& fd) {
    std::string all;
    for (std::string part; !(part = read_some(fd)).empty();) all += part;
    return all;
}

// Until the read fails: with what.
std::pair<std::string, int> read_to_failure(const UniqueFd& fd) {
    std::string all(1U << 20U, '\0');
    std::size_t size = 0;
    for (;;) {
        const ssize_t count = read(fd.get(), all.data() + size, all.size() - size);
        if (count <= 0) return {all.substr(0, size), count < 0 ? errno : 0};
        size += static_cast<std::size_t>(count);
    }
}

void say(const UniqueFd& fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t sent = send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
        REQUIRE(sent > 0);
        text.remove_prefix(static_cast<std::size_t>(sent));
    }
}

// A connection whose plain side is a TCP socket that was given to it; `program` is its other end.
struct Given {
    Device device;
    std::unique_ptr<Facing> far;
    UniqueFd program;

    explicit Given(Ends plain = tcp_pair()) : far(facing(device)), program(std::move(plain.a)) {
        REQUIRE(ctl(*far->connection, "plain 7", {{7, plain.b.get()}}) == 0);
    }
    // What the peer got, until `size` bytes are there.
    std::string heard(std::size_t size) {
        std::string got;
        std::array<std::byte, 20000> buffer{};
        while (got.size() < size) {
            const Step step = far->peer->read(buffer);
            if (step.outcome == Step::Outcome::done)
                got += text(std::span(buffer).first(step.count));
            if (step.outcome == Step::Outcome::want_input && !far->receive()) break;
            if (step.outcome == Step::Outcome::closed || step.outcome == Step::Outcome::failed)
                break;
        }
        return got;
    }
    // How the peer's stream ends.
    Step end() {
        std::array<std::byte, 20000> buffer{};
        for (;;) {
            Step step = far->peer->read(buffer);
            if (step.outcome == Step::Outcome::done) continue;
            if (step.outcome != Step::Outcome::want_input) return step;
            if (!far->receive()) far->peer->end_of_input();
        }
    }
    bool is_in(const std::string& state) {
        return soon([&] { return has_line(far->connection->status(), "State: " + state); });
    }
};

}  // namespace

TEST_CASE("relay: a given socket carries plaintext both ways") {
    Given g;
    say(g.program, "to the peer");
    CHECK(g.heard(11) == "to the peer");
    g.far->say("to the program");
    CHECK(read_some(g.program) == "to the program");
    CHECK(g.far->connection->stats().find("DataIn: 14\nDataOut: 11\n") != std::string::npos);
}

TEST_CASE("relay: there is one plain side") {
    Given g;
    auto [a, b] = tcp_pair();
    CHECK(ctl(*g.far->connection, "plain 7", {{7, a.get()}}) == EBUSY);
    CHECK(g.far->connection->open_data().error().code == EBUSY);
    CHECK(g.far->connection->data_socket().error().code == EBUSY);
}

TEST_CASE("relay: half-close both ways, and then the connection is over") {
    Given g;
    say(g.program, "request");
    shutdown(g.program.get(), SHUT_WR);
    CHECK(g.heard(7) == "request");
    CHECK(g.end().outcome == Step::Outcome::closed);
    CHECK(g.is_in("LocalClosed"));
    g.far->say("answer");
    CHECK(read_some(g.program) == "answer");
    g.far->peer->close();
    g.far->flush();
    CHECK(read_some(g.program).empty());
    CHECK(g.is_in("Closed"));
}

TEST_CASE("relay: the peer's close_notify is the end of the program's input, and writing goes on") {
    Given g;
    g.far->say("all of it");
    g.far->peer->close();
    g.far->flush();
    CHECK(read_to_end(g.program) == "all of it");
    CHECK(g.is_in("RemoteClosed"));
    say(g.program, "late");
    CHECK(g.heard(4) == "late");
}

TEST_CASE("relay: a truncated stream is a reset, after all bytes that came before") {
    Given g;
    g.far->say("half of it");
    g.far->fd.reset();
    CHECK(read_to_failure(g.program) == std::pair<std::string, int>("half of it", ECONNRESET));
    CHECK(g.is_in("Error"));
    CHECK(g.far->connection->status().find("without close_notify") != std::string::npos);
}

TEST_CASE("relay: a bad record is a reset, after all bytes that came before") {
    Given g;
    g.far->say("good");
    g.far->say_garbled();
    CHECK(read_to_failure(g.program) == std::pair<std::string, int>("good", ECONNRESET));
    CHECK(g.is_in("Error"));
    CHECK(g.far->connection->status().find("failed authentication") != std::string::npos);
    // The peer is told, and may still be sending when it is (FINDINGS T1).
    CHECK(g.end().error.text.find("bad_record_mac") != std::string::npos);
}

TEST_CASE("relay: a reset of a given plain side is no close_notify") {
    Given g;
    say(g.program, "unfinished");
    CHECK(g.heard(10) == "unfinished");
    const ::linger at_once{1, 0};
    setsockopt(g.program.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    g.program.reset();
    const Step end = g.end();
    CHECK(end.outcome == Step::Outcome::failed);
    CHECK(end.error.code == ECONNRESET);
    CHECK(g.is_in("Closed"));
}

TEST_CASE("relay: hangup resets the program and is no close_notify") {
    Given g;
    CHECK(ctl(*g.far->connection, "hangup") == 0);
    CHECK(read_to_failure(g.program).second == ECONNRESET);
    CHECK(g.end().error.code == ECONNRESET);
}

TEST_CASE("relay: close in ctl sends what the program wrote before it, then close_notify") {
    Given g;
    say(g.program, "before");
    REQUIRE(soon([&] {
        pollfd entry{g.far->fd.get(), POLLIN, 0};
        return poll(&entry, 1, 0) == 1;
    }));
    CHECK(ctl(*g.far->connection, "close") == 0);
    CHECK(g.heard(6) == "before");
    CHECK(g.end().outcome == Step::Outcome::closed);
    g.far->say("still heard");
    CHECK(read_some(g.program) == "still heard");
}

TEST_CASE("relay: two pipes are a plain side") {
    Device device;
    auto far = facing(device);
    auto [in_read, in_write] = pipe_pair();
    auto [out_read, out_write] = pipe_pair();
    REQUIRE(ctl(*far->connection, "plain 5 6", {{5, in_read.get()}, {6, out_write.get()}}) == 0);
    in_read.reset();
    out_write.reset();
    REQUIRE(write(in_write.get(), "piped", 5) == 5);
    far->say("answer");
    CHECK(read_some(out_read) == "answer");
    in_write.reset();
    CHECK(soon([&] { return has_line(far->connection->status(), "State: LocalClosed"); }));
    far->peer->close();
    far->flush();
    CHECK(read_some(out_read).empty());
}

TEST_CASE("relay: plain before the handshake") {
    Device device;
    const auto client = device.connect(), server = device.connect();
    auto transport = socket_pair();
    auto [program, plain] = tcp_pair();
    REQUIRE(write_pem(*client, PemFile::ca, world().authority.pem()));
    REQUIRE(write_pem(*server, PemFile::cert, world().server.pem()));
    REQUIRE(write_pem(*server, PemFile::key, world().server.key_pem()));
    const auto answer = start_ctl(*server, "fd 3\nserver\n", {{3, transport.b.get()}});
    REQUIRE(ctl(*client, "plain 4\nfd 3\nclient server.test\n",
                {{3, transport.a.get()}, {4, plain.get()}}) == 0);
    REQUIRE(answer->code() == 0);
    plain.reset();
    say(program, "at once");
    CHECK(start_read(*server)->data() == "at once");
}

TEST_CASE("relay: what a stalled side makes it hold is bounded, and nothing is lost") {
    Given g;
    // The peer does not read: the program can write no more than buffers hold.
    fcntl(g.program.get(), F_SETFL, O_NONBLOCK);
    const std::string piece(60'000, 'x');
    std::size_t sent = 0;
    for (int full = 0; full < 20;) {
        const ssize_t count = send(g.program.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
        if (count > 0) {
            sent += static_cast<std::size_t>(count);
            full = 0;
        } else {
            ++full;
            std::this_thread::sleep_for(std::chrono::milliseconds{5});
        }
        REQUIRE(sent < (64U << 20U));
    }
    shutdown(g.program.get(), SHUT_WR);
    CHECK(g.heard(sent).size() == sent);
    CHECK(g.end().outcome == Step::Outcome::closed);
}

TEST_CASE("relay: idle hangs up when nothing moves") {
    Given g;
    CHECK(ctl(*g.far->connection, "idle 0.05") == 0);
    CHECK(read_to_failure(g.program).second == ECONNRESET);
    CHECK(g.is_in("Error"));
}

namespace {

// A connection of a TCP transport, and its data socket.
struct WithSocket {
    std::unique_ptr<SocketPairs> pairs;
    std::optional<Device> device;
    Ends transport = tcp_pair();
    std::unique_ptr<Facing> far;
    UniqueFd program;

    // False: this machine lets nobody make a network namespace, and says so.
    bool begin() {
        auto made = SocketPairs::start();
        if (!made) {
            MESSAGE("no data sockets here: ", made.error().text);
            return false;
        }
        pairs = std::move(*made);
        device.emplace(2, Policy{}, pairs.get());
        far = facing(*device, tcp_pair());
        auto socket = far->connection->data_socket();
        REQUIRE_MESSAGE(socket, socket.error().text);
        program = std::move(*socket);
        device->registry.release(far->connection);  // as if clone were closed: the socket holds it
        return true;
    }
    Step read_peer(std::string& got) {
        std::array<std::byte, 20000> buffer{};
        for (;;) {
            Step step = far->peer->read(buffer);
            if (step.outcome == Step::Outcome::done)
                got += text(std::span(buffer).first(step.count));
            if (step.outcome == Step::Outcome::closed || step.outcome == Step::Outcome::failed)
                return step;
            if (step.outcome == Step::Outcome::want_input && !far->receive())
                far->peer->end_of_input();
        }
    }
};

std::string name_of(int fd, int (*call)(int, sockaddr*, socklen_t*)) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    REQUIRE(call(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return std::to_string(ntohl(address.sin_addr.s_addr)) + ":" +
           std::to_string(ntohs(address.sin_port));
}

}  // namespace

TEST_CASE("data socket: it has the transport's addresses, and holds the connection") {
    WithSocket w;
    if (!w.begin()) return;
    CHECK(name_of(w.program.get(), getpeername) == name_of(w.far->fd.get(), getsockname));
    CHECK(name_of(w.program.get(), getsockname) == name_of(w.far->fd.get(), getpeername));
    w.far->say("hello");
    CHECK(read_some(w.program) == "hello");
    CHECK(w.far->connection->data_socket().error().code == EBUSY);
    const auto number = w.far->connection->number();
    CHECK(w.device->registry.find(number, kUser.uid) != nullptr);
    w.program.reset();
    CHECK(soon([&] { return w.device->registry.find(number, kUser.uid) == nullptr; }));
}

TEST_CASE("data socket: a half-close is no last close") {
    WithSocket w;
    if (!w.begin()) return;
    say(w.program, "request");
    shutdown(w.program.get(), SHUT_WR);
    std::string got;
    CHECK(w.read_peer(got).outcome == Step::Outcome::closed);
    CHECK(got == "request");
    w.far->say("answer");
    CHECK(read_some(w.program) == "answer");
    w.far->peer->close();
    w.far->flush();
    CHECK(read_some(w.program).empty());
}

TEST_CASE("data socket: the last close sends close_notify behind everything written") {
    WithSocket w;
    if (!w.begin()) return;
    const std::string much(3U << 20U, 'm');
    std::thread writer([&] {
        say(w.program, much);
        w.program.reset();
    });
    std::string got;
    CHECK(w.read_peer(got).outcome == Step::Outcome::closed);
    writer.join();
    CHECK((got == much));
}

TEST_CASE("data socket: a program that exits with unread input loses nothing that it wrote") {
    WithSocket w;
    if (!w.begin()) return;
    w.far->say("never read");
    REQUIRE(soon([&] {
        pollfd entry{w.program.get(), POLLIN, 0};
        return poll(&entry, 1, 0) == 1;
    }));
    say(w.program, "written before");
    w.program.reset();
    std::string got;
    CHECK(w.read_peer(got).outcome == Step::Outcome::closed);
    CHECK(got == "written before");
}

TEST_CASE(
    "data socket: a truncated stream is ECONNRESET after the bytes before it, and status says "
    "why") {
    WithSocket w;
    if (!w.begin()) return;
    w.far->say("half of it");
    w.far->fd.reset();
    CHECK(read_to_failure(w.program) == std::pair<std::string, int>("half of it", ECONNRESET));
    CHECK(has_line(w.far->connection->status(), "State: Error"));
    CHECK(w.device->registry.find(w.far->connection->number(), kUser.uid) != nullptr);
}

TEST_CASE("data socket: there is none without a network namespace") {
    Device device;
    auto far = facing(device);
    CHECK(far->connection->data_socket().error().code == EOPNOTSUPP);
    CHECK(far->connection->open_data());  // the file is there all the same
}

TEST_CASE("relay: who watches hears of each state, and of the end") {
    struct Heard final : StateWatcher {
        std::mutex lock;
        std::vector<std::string> states;
        bool is_over = false;
        void changed(const std::string& status) override {
            const std::scoped_lock guard(lock);
            const auto at = status.find("State: ");
            states.push_back(status.substr(at + 7, status.find('\n', at) - at - 7));
        }
        bool over() override {
            const std::scoped_lock guard(lock);
            return is_over = true;
        }
    };
    Given g;
    const auto heard = std::make_shared<Heard>();
    g.far->connection->watch(heard);
    g.far->peer->close();
    g.far->flush();
    CHECK(read_some(g.program).empty());
    g.program.reset();
    CHECK(soon([&] {
        const std::scoped_lock guard(heard->lock);
        return heard->is_over;
    }));
    CHECK(heard->states.front() == "RemoteClosed");
    CHECK(heard->states.back() == "Closed");
}
