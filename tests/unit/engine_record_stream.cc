// SPDX-License-Identifier: MIT
#include "engine/record_stream.h"

#include <doctest/doctest.h>

#include <thread>

#include "support/tls_pair.h"

using namespace tlsfs;
using namespace tlsfs::test;
using Outcome = Step::Outcome;

namespace {

struct Streams {
    ContextCache cache;
    std::unique_ptr<RecordStream> client, server;
};

std::unique_ptr<RecordStream> stream_over(UniqueFd fd, std::unique_ptr<Tls> tls) {
    auto transport = adopt(std::move(fd));
    REQUIRE(transport);
    return std::make_unique<RecordStream>(std::move(*transport), std::move(tls));
}

void handshake(RecordStream& client, RecordStream& server) {
    for (int round = 0; round < 20; ++round) {
        const Step one = client.handshake(), other = server.handshake();
        REQUIRE(one.outcome != Outcome::failed);
        REQUIRE(other.outcome != Outcome::failed);
        if (one.outcome == Outcome::done && other.outcome == Outcome::done) return;
    }
    FAIL("the handshake does not end");
}

void make_streams(Streams& streams, Ends ends = socket_pair()) {
    streams.client = stream_over(std::move(ends.a),
                                 make_tls(streams.cache, world().client_settings(), Role::client));
    streams.server = stream_over(std::move(ends.b),
                                 make_tls(streams.cache, world().server_settings(), Role::server));
    handshake(*streams.client, *streams.server);
}

// One end as a stream, the other as a bare Tls with the descriptor beside it: a peer that may do
// anything.
struct WithPeer {
    ContextCache cache;
    std::unique_ptr<RecordStream> stream;
    std::unique_ptr<Tls> peer;
    UniqueFd fd;
};

void send_all(int fd, std::span<const std::byte> data) {
    while (!data.empty()) {
        const ssize_t sent = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
        if (sent <= 0) return;
        data = data.subspan(static_cast<std::size_t>(sent));
    }
}

void flush_peer(WithPeer& w) {
    send_all(w.fd.get(), w.peer->output().bytes());
    w.peer->output().consume(w.peer->output().size());
}

void make_with_peer(WithPeer& w) {
    auto [ours, theirs] = socket_pair();
    w.stream =
        stream_over(std::move(ours), make_tls(w.cache, world().client_settings(), Role::client));
    w.peer = make_tls(w.cache, world().server_settings(), Role::server);
    w.fd = std::move(theirs);
    for (int round = 0; round < 20; ++round) {
        const Step step = w.stream->handshake();
        REQUIRE(step.outcome != Outcome::failed);
        std::array<std::byte, 20000> buffer{};
        const ssize_t got = recv(w.fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got > 0) w.peer->input().append(std::span(buffer).first(static_cast<std::size_t>(got)));
        const Step other = w.peer->handshake();
        flush_peer(w);
        if (step.outcome == Outcome::done && other.outcome == Outcome::done) return;
    }
    FAIL("the handshake does not end");
}

Step read_some(RecordStream& stream, std::string& into) {
    std::array<std::byte, 65536> buffer{};
    Step step = stream.read(buffer);
    if (step.outcome == Outcome::done) into += text(std::span(buffer).first(step.count));
    return step;
}

// Writes until the stream has more than enough to send. The peer does not read.
std::string stuff(RecordStream& stream) {
    std::string sent;
    const std::string piece(50'000, 's');
    while (stream.writable()) {
        REQUIRE(stream.write(bytes(piece)));
        sent += piece;
        REQUIRE(sent.size() < (64U << 20U));
    }
    return sent;
}

}  // namespace

TEST_CASE("record stream: bytes both ways, of every size") {
    Streams s;
    make_streams(s);
    std::string got;
    CHECK(read_some(*s.client, got).outcome == Outcome::want_input);
    for (const std::size_t size : {1U, 2U, 16384U, 16385U, 70'000U}) {
        const std::string data(size, 'a');
        REQUIRE(s.client->write(bytes(data)));
        got.clear();
        while (got.size() < size) {
            s.client->flush();
            const Step step = read_some(*s.server, got);
            REQUIRE((step.outcome == Outcome::done || step.outcome == Outcome::want_input));
        }
        CHECK((got == data));
    }
    Stats stats;
    s.client->add_stats(stats);
    CHECK(stats.data_out == 1 + 2 + 16384 + 16385 + 70'000);
    CHECK(stats.wire_out > stats.data_out);
}

TEST_CASE("record stream: a reader gets what there is, and does not wait to fill its buffer") {
    Streams s;
    make_streams(s);
    REQUIRE(s.client->write(bytes("one")));
    REQUIRE(s.client->write(bytes("two")));
    std::string got;
    CHECK(read_some(*s.server, got).outcome == Outcome::done);
    CHECK(got == "onetwo");
    CHECK(read_some(*s.server, got).outcome == Outcome::want_input);
}

TEST_CASE("record stream: a full transport stops writers, and loses nothing") {
    Streams s;
    make_streams(s);
    const std::string sent = stuff(*s.client);
    CHECK(s.client->unsent() > bounds::kUnsent);
    CHECK_FALSE(s.client->writable());
    std::string got;
    while (got.size() < sent.size()) {
        const Step step = read_some(*s.server, got);
        REQUIRE((step.outcome == Outcome::done || step.outcome == Outcome::want_input));
        s.client->flush();
    }
    CHECK((got == sent));
    CHECK(s.client->unsent() == 0);
    CHECK(s.client->writable());
}

TEST_CASE("record stream: close_notify comes behind everything written") {
    Streams s;
    make_streams(s);
    const std::string sent = stuff(*s.client);
    s.client->close();
    std::string got;
    Step step;
    do {
        step = read_some(*s.server, got);
        s.client->flush();
    } while (step.outcome == Outcome::done || step.outcome == Outcome::want_input);
    CHECK(step.outcome == Outcome::closed);
    CHECK(got.size() == sent.size());
    CHECK(read_some(*s.server, got).outcome == Outcome::closed);  // for ever
    REQUIRE(s.server->write(bytes("late answer")));
    got.clear();
    CHECK(read_some(*s.client, got).outcome == Outcome::done);
    CHECK(got == "late answer");
}

TEST_CASE("record stream: a bare end is ECONNRESET, after what came before it") {
    WithPeer w;
    make_with_peer(w);
    REQUIRE(w.peer->write(bytes("data")));
    flush_peer(w);
    w.fd.reset();
    std::string got;
    CHECK(read_some(*w.stream, got).outcome == Outcome::done);
    CHECK(got == "data");
    const Step end = read_some(*w.stream, got);
    CHECK(end.outcome == Outcome::failed);
    CHECK(end.error.code == ECONNRESET);
    CHECK_FALSE(w.stream->write(bytes("x")));
}

TEST_CASE("record stream: a write to who has gone fails") {
    WithPeer w;
    make_with_peer(w);
    w.fd.reset();
    const auto first = w.stream->write(bytes("x"));
    const auto second = w.stream->write(bytes("x"));
    REQUIRE_FALSE(second);
    CHECK((second.error().code == EPIPE || second.error().code == ECONNRESET));
    CHECK(w.stream->write_error());
    CHECK(w.stream->unsent() == 0);
}

TEST_CASE("record stream: a corrupted record ends it, and the alert is sent") {
    WithPeer w;
    make_with_peer(w);
    REQUIRE(w.peer->write(bytes("data")));
    std::string wire = text(w.peer->output().bytes());
    w.peer->output().consume(wire.size());
    wire.back() = static_cast<char>(wire.back() ^ 1);
    send_all(w.fd.get(), bytes(wire));
    std::string got;
    CHECK(read_some(*w.stream, got).error.code == EBADMSG);
    CHECK(read_some(*w.stream, got).error.code == EBADMSG);
    CHECK(w.stream->write(bytes("x")).error().code == EBADMSG);
    std::array<std::byte, 1000> alert{};
    const ssize_t size = recv(w.fd.get(), alert.data(), alert.size(), MSG_DONTWAIT);
    REQUIRE(size > 0);
    w.peer->input().append(std::span(alert).first(static_cast<std::size_t>(size)));
    CHECK(w.peer->peek().error.text.find("bad_record_mac") != std::string::npos);
}

TEST_CASE(
    "record stream: key updates that are asked for and never read do not pile up without end") {
    WithPeer w;
    make_with_peer(w);
    std::thread flood([&] {
        // More answers than are kept: 27 bytes each.
        for (int i = 0; i < 220'000; ++i) {
            REQUIRE(w.peer->update_keys());
            if (w.peer->output().size() < 100'000) continue;
            const auto data = w.peer->output().bytes();
            if (send(w.fd.get(), data.data(), data.size(), MSG_NOSIGNAL) !=
                static_cast<ssize_t>(data.size()))
                break;
            w.peer->output().consume(data.size());
        }
        shutdown(w.fd.get(), SHUT_WR);
    });
    std::string got;
    Step step;
    do {
        step = read_some(*w.stream, got);
    } while (step.outcome == Outcome::want_input && w.stream->accepts_input());
    CHECK(got.empty());
    CHECK(w.stream->unsent() < (1U << 20U));
    shutdown(w.fd.get(), SHUT_RDWR);
    flood.join();
}

TEST_CASE("record stream: handshake messages without data between them have a bound") {
    WithPeer w;
    make_with_peer(w);
    std::string got;
    const auto receive = [&](int updates) {
        for (int i = 0; i < updates; ++i) REQUIRE(w.peer->update_keys());
        flush_peer(w);
        return read_some(*w.stream, got);
    };
    CHECK(receive(30).outcome == Outcome::want_input);  // behind two tickets
    REQUIRE(w.peer->write(bytes("data")));
    flush_peer(w);
    CHECK(read_some(*w.stream, got).outcome == Outcome::done);
    CHECK(receive(32).outcome == Outcome::want_input);
    REQUIRE(w.peer->write(bytes("data")));
    flush_peer(w);
    CHECK(read_some(*w.stream, got).outcome == Outcome::done);
    // Data in the same breath does not hide them.
    for (int i = 0; i < bounds::kMessagesInARow + 1; ++i) REQUIRE(w.peer->update_keys());
    REQUIRE(w.peer->write(bytes("data")));
    const Step end = receive(0);
    CHECK(end.outcome == Outcome::failed);
    CHECK(end.error.code == EPROTO);
    CHECK(end.error.text.find("in a row") != std::string::npos);
}

// Otherwise one peer keeps a thread, and its connection's lock, for as long as it likes.
TEST_CASE("record stream: what is no data does not keep a reader busy without end") {
    WithPeer w;
    make_with_peer(w);
    constexpr std::size_t kFlood = 1U << 20U;
    while (w.peer->output().size() < kFlood) REQUIRE(w.peer->update_keys());
    std::thread flood([&] { flush_peer(w); });
    std::array<std::byte, 4096> buffer{};
    while (w.stream->read(buffer).outcome == Outcome::want_input) {
        Stats stats;
        w.stream->add_stats(stats);
        if (stats.wire_in > 20'000) break;  // the flood has begun
    }
    Stats stats;
    w.stream->add_stats(stats);
    CHECK(stats.wire_in < kFlood / 2);
    shutdown(w.fd.get(), SHUT_RDWR);
    flood.join();
}

TEST_CASE("record stream: key updates of our own do not pile up without end") {
    WithPeer w;
    make_with_peer(w);
    CHECK(w.stream->update_keys());
    (void)stuff(*w.stream);
    CHECK(w.stream->update_keys());  // behind what waits, in reason
    const std::string more(6U << 20U, 'x');
    REQUIRE(w.stream->write(bytes(more)));
    REQUIRE_FALSE(w.stream->accepts_input());
    CHECK(w.stream->update_keys().error().code == EBUSY);
    CHECK_FALSE(w.stream->write_error());
}

TEST_CASE("record stream: over pipes, with one end closed") {
    ContextCache cache;
    auto [a_read, b_write] = pipe_pair();
    auto [b_read, a_write] = pipe_pair();
    auto a = adopt(std::move(a_read), std::move(a_write)),
         b = adopt(std::move(b_read), std::move(b_write));
    REQUIRE(a);
    REQUIRE(b);
    RecordStream client(std::move(*a), make_tls(cache, world().client_settings(), Role::client));
    auto server = std::make_unique<RecordStream>(
        std::move(*b), make_tls(cache, world().server_settings(), Role::server));
    handshake(client, *server);
    REQUIRE(server->write(bytes("last words")));
    server.reset();
    std::string got;
    CHECK(read_some(client, got).outcome == Outcome::done);
    CHECK(got == "last words");
    CHECK(read_some(client, got).error.code == ECONNRESET);
}
