// SPDX-License-Identifier: MIT
// Reading, writing, polling: who waits, in what order, and who is told.
#include <doctest/doctest.h>
#include <poll.h>

#include <algorithm>

#include "core/bounds.h"
#include "support/fakes.h"

using namespace tlsfs;
using namespace tlsfs::test;

TEST_CASE("data: both ways, and readers in the order of their coming") {
    Device device;
    const auto both = connected(device);
    const auto first = start_read(*both.client, 3), second = start_read(*both.client, 100);
    CHECK_FALSE(first->given());
    CHECK(start_write(*both.server, "abcdef")->count() == 6);
    CHECK(first->data() == "abc");
    CHECK(second->data() == "def");
    CHECK(start_write(*both.client, "back")->code() == 0);
    CHECK(start_read(*both.server)->data() == "back");
    CHECK(both.client->stats().find("DataIn: 6\nDataOut: 4\n") != std::string::npos);
}

TEST_CASE("data: O_NONBLOCK") {
    Device device;
    const auto both = connected(device);
    CHECK(start_read(*both.client, 100, true)->code() == EAGAIN);
    const auto waiting = start_read(*both.client);
    CHECK(start_read(*both.client, 100, true)->code() == EAGAIN);
    CHECK(start_write(*both.server, "x")->code() == 0);
    CHECK(waiting->data() == "x");
    stuff(*both.client);
    CHECK(start_write(*both.client, "x", true)->code() == EAGAIN);
}

TEST_CASE("data: a blocked writer does not block a reader, nor the other way round") {
    Device device;
    const auto both = connected(device);
    stuff(*both.client);
    const auto writer = start_write(*both.client, "blocked");
    CHECK_FALSE(writer->given());
    CHECK(start_write(*both.server, "hello")->code() == 0);
    CHECK(start_read(*both.client)->data() == "hello");
    CHECK_FALSE(writer->given());
    const auto reader = start_read(*both.client);
    std::string got;
    while (!got.ends_with("blocked")) got += start_read(*both.server, 1U << 20U)->data();
    CHECK(writer->count() == 7);
    CHECK_FALSE(reader->given());
}

TEST_CASE("data: several blocked writers go on in order, each as a whole") {
    Device device;
    const auto both = connected(device);
    stuff(*both.client);
    std::vector<AnswerPtr> writers;
    std::string wanted;
    for (char c = 'a'; c < 'f'; ++c) {
        const std::string data(70'000, c);
        wanted += data;
        writers.push_back(start_write(*both.client, data));
    }
    std::string got;
    while (std::ranges::count(got, 'e') < 70'000)
        got += start_read(*both.server, 1U << 20U)->data();
    for (const AnswerPtr& writer : writers) CHECK(writer->count() == 70'000);
    CHECK(got.ends_with(wanted));
}

TEST_CASE("data: signals that come before parking, and after") {
    Device device;
    const auto both = connected(device);
    CHECK(start_read(*both.client, 100, false, true)->code() == EINTR);
    const auto reader = start_read(*both.client), other = start_read(*both.client);
    reader->interrupted = true;
    both.client->signalled();
    CHECK(reader->code() == EINTR);
    CHECK_FALSE(other->given());
    CHECK(start_write(*both.server, "x")->code() == 0);
    CHECK(other->data() == "x");

    stuff(*both.client);
    CHECK(start_write(*both.client, "not yet taken", false, true)->code() == EINTR);
    const auto writer = start_write(*both.client, "not yet taken"),
               next = start_write(*both.client, "next");
    writer->interrupted = true;
    both.client->signalled();
    CHECK(writer->code() == EINTR);
    CHECK_FALSE(next->given());
}

TEST_CASE("data: an interrupted write counts what is in the stream already") {
    Device device;
    const auto both = connected(device);
    const std::string much(8U << 20U, 'x');
    const auto writer = start_write(*both.client, much);
    CHECK_FALSE(writer->given());
    writer->interrupted = true;
    both.client->signalled();
    CHECK(writer->code() == 0);
    CHECK(writer->count() > 0);
    CHECK(writer->count() < much.size());
    stuff(*both.client);
    const auto early = start_write(*both.client, std::string(900'000, 'y'), false, true);
    CHECK(early->code() == EINTR);
}

TEST_CASE("data: what is written to a connection that is broken fails with the cause") {
    Device device;
    auto f = facing(device);
    f->fd.reset();
    const auto reader = start_read(*f->connection);
    CHECK(reader->code() == ECONNRESET);
    CHECK(start_write(*f->connection, "x")->code() == ECONNRESET);
    CHECK(has_line(f->connection->status(), "State: Error"));
}

TEST_CASE("data: half-close") {
    Device device;
    const auto both = connected(device);
    const auto reader = start_read(*both.client);
    CHECK(ctl(*both.client, "close") == 0);
    CHECK_FALSE(reader->given());
    CHECK(start_write(*both.client, "x")->code() == EPIPE);
    CHECK(start_write(*both.client, "x", true)->code() == EPIPE);
    CHECK(ctl(*both.client, "close") == EBUSY);
    CHECK(ctl(*both.client, "keyupdate") == EBUSY);
    CHECK(start_read(*both.server)->data().empty());
    CHECK(start_write(*both.server, "late answer")->code() == 0);
    CHECK(reader->data() == "late answer");
    CHECK(ctl(*both.server, "keyupdate") == 0);
    CHECK(start_write(*both.server, "with new keys")->code() == 0);
    CHECK(start_read(*both.client)->data() == "with new keys");
    CHECK(ctl(*both.server, "close") == 0);
    CHECK(start_read(*both.client)->data().empty());
    CHECK(start_read(*both.client)->data().empty());
    CHECK(has_line(both.client->status(), "State: Closed"));
    CHECK(has_line(both.server->status(), "State: Closed"));
    CHECK((poll_data(*both.client, nullptr, POLLIN, nullptr) & POLLHUP) != 0);
}

TEST_CASE("data: close fails writers that still wait, and keeps what they were promised") {
    Device device;
    const auto both = connected(device);
    const std::string much(8U << 20U, 'x');
    const auto begun = start_write(*both.client, much);
    const auto waiting = start_write(*both.client, "y");
    CHECK_FALSE(begun->given());
    CHECK(ctl(*both.client, "close") == 0);
    CHECK(waiting->code() == EPIPE);
    std::string got;
    for (AnswerPtr read; !(read = start_read(*both.server, 1U << 20U))->data().empty();)
        got += read->data();
    CHECK(begun->code() == 0);
    CHECK(got.size() == begun->count());
}

TEST_CASE("data: a bare end") {
    Device device;
    auto f = facing(device);
    f->say("data");
    f->fd.reset();
    CHECK(start_read(*f->connection)->data() == "data");
    CHECK(start_read(*f->connection)->code() == ECONNRESET);
    CHECK(start_read(*f->connection)->code() == ECONNRESET);
    CHECK(start_write(*f->connection, "x")->code() != 0);
    CHECK(has_line(f->connection->status(), "State: Error"));
    CHECK(f->connection->open_data());
}

TEST_CASE("data: key updates while both sides send") {
    Device device;
    const auto both = connected(device);
    std::string sent;
    for (int i = 0; i < 20; ++i) {
        const std::string chunk(static_cast<std::size_t>(1000 * (i + 1)),
                                static_cast<char>('a' + i));
        CHECK(ctl(*(i % 2 == 0 ? both.client : both.server), "keyupdate") == 0);
        CHECK(start_write(*both.client, chunk)->code() == 0);
        CHECK(start_write(*both.server, "pong")->code() == 0);
        std::string got;
        while (got.size() < chunk.size()) got += start_read(*both.server, 1U << 20U)->data();
        CHECK((got == chunk));
        CHECK(start_read(*both.client)->data() == "pong");
    }
}

TEST_CASE("poll: what there is, and who is woken") {
    Device device;
    const auto both = connected(device);
    Connection& c = *both.client;
    CHECK(poll_data(c, &c, POLLIN | POLLOUT, nullptr) == (POLLOUT | POLLWRNORM));
    Wakes readable;
    CHECK((poll_data(c, &c, POLLIN, readable.poller()) & POLLIN) == 0);
    CHECK(start_write(*both.server, "x")->code() == 0);
    readable.wait();
    CHECK((poll_data(c, &c, POLLIN, nullptr) & POLLIN) != 0);
    CHECK(start_read(c)->data() == "x");

    stuff(c);
    Wakes writable;
    CHECK((poll_data(c, &c, POLLOUT, writable.poller()) & POLLOUT) == 0);
    while (writable.count() == 0) (void)start_read(*both.server, 1U << 20U, true);
    CHECK(ctl(*both.server, "close") == 0);
    Wakes end;
    if ((poll_data(c, &c, POLLIN | POLLRDHUP, end.poller()) & POLLRDHUP) == 0) end.wait();
    CHECK((poll_data(c, &c, POLLIN, nullptr) & (POLLIN | POLLRDHUP)) == (POLLIN | POLLRDHUP));
    CHECK(has_line(c.status(), "State: RemoteClosed"));
}

TEST_CASE("poll: who is not interested is not woken, and who has gone is forgotten") {
    Device device;
    const auto both = connected(device);
    Connection& c = *both.client;
    Wakes for_ctl, gone, interested;
    (void)c.poll_ctl(&for_ctl, for_ctl.poller());
    (void)poll_data(c, &gone, POLLIN, gone.poller());
    (void)poll_data(c, &interested, POLLIN, interested.poller());
    c.data().forget_poller(&gone);
    CHECK(start_write(*both.server, "x")->code() == 0);
    interested.wait();
    CHECK(for_ctl.count() == 0);
    CHECK(gone.count() == 0);
}

// FUSE has one handle an open file: two threads that poll it for different things share it.
TEST_CASE("poll: one who waits to write does not take the wake-up from one who waits to read") {
    Device device;
    const auto both = connected(device);
    Connection& c = *both.client;
    stuff(c);
    Wakes wakes;
    REQUIRE((poll_data(c, &c, POLLIN, wakes.poller()) & POLLIN) == 0);
    REQUIRE((poll_data(c, &c, POLLOUT, wakes.poller()) & POLLOUT) == 0);
    CHECK(start_write(*both.server, "x")->code() == 0);
    wakes.wait();
    CHECK((poll_data(c, &c, POLLIN, nullptr) & POLLIN) != 0);
}

// The reader has found that the connection is broken; the peer does not read, so the transport
// stays full.
TEST_CASE("data: a connection that a reader finds broken lets its writers go") {
    Device device;
    auto f = facing(device);
    Connection& c = *f->connection;
    stuff(c);
    const auto writer = start_write(c, "waits");
    REQUIRE_FALSE(writer->given());
    SUBCASE("a reader who waited") {
        const auto reader = start_read(c);
        f->say_garbled();
        CHECK(reader->code() == EBADMSG);
    }
    SUBCASE("a reader who came later") {
        f->say_garbled();
        AnswerPtr reader;
        do {
            reader = start_read(c, 100, true);
        } while (reader->code() == EAGAIN);
        CHECK(reader->code() == EBADMSG);
    }
    SUBCASE("one who polled") {
        f->say_garbled();
        while ((poll_data(c, &f, POLLIN, nullptr) & POLLERR) == 0) {
        }
    }
    CHECK(writer->code() == EBADMSG);
}

TEST_CASE("poll: a connection that a reader finds broken wakes those who wait to write") {
    Device device;
    auto f = facing(device);
    Connection& c = *f->connection;
    stuff(c);
    Wakes wakes;
    REQUIRE((poll_data(c, &c, POLLOUT, wakes.poller()) & POLLOUT) == 0);
    f->say_garbled();
    AnswerPtr reader;
    do {
        reader = start_read(c, 100, true);
    } while (reader->code() == EAGAIN);
    CHECK(reader->code() == EBADMSG);
    wakes.wait();
    CHECK((poll_data(c, &c, POLLOUT, nullptr) & (POLLOUT | POLLERR)) == (POLLOUT | POLLERR));
}

TEST_CASE("data: from several threads at once, nothing is lost and nothing twice") {
    Device device(3);
    const auto both = connected(device);
    constexpr int kThreads = 4;
    constexpr int kEach = 100;
    constexpr std::size_t kSize = 5000;
    std::vector<std::thread> threads;
    std::atomic<std::size_t> total = 0;
    std::atomic<int> answers = 0;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&] {
            const std::string data(kSize, 'x');
            for (int i = 0; i < kEach; ++i)
                CHECK(start_write(*both.client, data)->count() == kSize);
        });
        threads.emplace_back([&] {
            while (total < kThreads * kEach * kSize) {
                const auto read = start_read(*both.server, 20'000, true);
                if (read->code() == EAGAIN) {
                    std::this_thread::yield();
                    continue;
                }
                CHECK(read->code() == 0);
                total += read->count();
                ++answers;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(total == kThreads * kEach * kSize);
}

TEST_CASE("data: parked readers, signals and data race, and every one is answered once") {
    Device device(3);
    const auto both = connected(device);
    std::atomic<bool> stop = false;
    std::atomic<std::size_t> got = 0, sent = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&] {
            while (!stop) {
                const auto read = start_read(*both.server, 7);
                if (!read->given()) {
                    read->interrupted = true;
                    both.server->signalled();
                }
                const int code = read->code();
                CHECK((code == 0 || code == EINTR));
                got += read->count();
            }
        });
    }
    for (int i = 0; i < 2000; ++i) sent += start_write(*both.client, "0123456789")->count();
    stop = true;
    for (std::thread& thread : threads) thread.join();
    while (got < sent) got += start_read(*both.server)->count();
    CHECK(got == sent);
}

TEST_CASE("data: what blocked writers hold has a bound, and nothing that was taken is lost") {
    Device device;
    const auto both = connected(device);
    stuff(*both.client);
    constexpr std::size_t kPiece = 1U << 20U;
    std::vector<AnswerPtr> writers;
    for (std::size_t held = 0; held < bounds::kWaitingWrites; held += kPiece) {
        writers.push_back(start_write(*both.client, std::string(kPiece, 'p')));
    }
    // Some of the first may have gone; the next two are too much in any case.
    writers.push_back(start_write(*both.client, std::string(kPiece, 'p')));
    const auto refused = start_write(*both.client, std::string(kPiece, 'x'));
    REQUIRE(refused->given());
    CHECK(refused->code() == ENOBUFS);
    std::size_t taken = 0;
    for (const AnswerPtr& writer : writers) {
        // One that waits: all of it will be taken.
        const bool waits = !writer->given();
        if (waits || writer->code() == 0) taken += waits ? kPiece : writer->count();
    }
    std::string got;
    while (std::ranges::count(got, 'p') < static_cast<std::ptrdiff_t>(taken)) {
        got += start_read(*both.server, kPiece)->data();
    }
    for (const AnswerPtr& writer : writers)
        CHECK((writer->code() == 0 || writer->code() == ENOBUFS));
    CHECK(taken >= bounds::kWaitingWrites);
    CHECK(got.find('x') == std::string::npos);
}
