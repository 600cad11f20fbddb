// SPDX-License-Identifier: MIT
// Requests that remember their answer, and a whole device to send them to.
#pragma once

#include <doctest/doctest.h>
#include <condition_variable>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "connection/registry.h"
#include "support/tls_pair.h"

namespace tlsfs::test {

// What a request was answered. Exactly one answer is allowed.
class Answer {
 public:
    void give(int code, std::string data, std::size_t count) {
        const std::scoped_lock guard(lock_);
        CHECK_MESSAGE(!given_, "a request was answered twice");
        given_ = true;
        code_ = code;
        data_ = std::move(data);
        count_ = count;
        changed_.notify_all();
    }
    [[nodiscard]] bool given() const {
        const std::scoped_lock guard(lock_);
        return given_;
    }
    // Waits for it: 0 or an errno.
    [[nodiscard]] int code() const {
        std::unique_lock held(lock_);
        changed_.wait(held, [&] { return given_; });
        return code_;
    }
    [[nodiscard]] std::string data() const {
        (void)code();
        return data_;
    }
    [[nodiscard]] std::size_t count() const {
        (void)code();
        return count_;
    }
    std::atomic<bool> interrupted = false;

 private:
    mutable std::mutex lock_;
    mutable std::condition_variable changed_;
    bool given_ = false;
    int code_ = -1;
    std::string data_;
    std::size_t count_ = 0;
};

using AnswerPtr = std::shared_ptr<Answer>;

class FakeRead final : public ReadRequest {
 public:
    FakeRead(AnswerPtr answer, bool nonblocking, std::size_t size)
        : ReadRequest(nonblocking, size), answer_(std::move(answer)) {}
    [[nodiscard]] bool interrupted() const override { return answer_->interrupted; }
    void fail(int code) override { answer_->give(code, {}, 0); }
    void reply(std::span<const std::byte> data) override {
        answer_->give(0, text(data), data.size());
    }

 private:
    AnswerPtr answer_;
};

class FakeWrite final : public WriteRequest {
 public:
    FakeWrite(AnswerPtr answer, bool nonblocking, std::span<const std::byte> data)
        : WriteRequest(nonblocking, data), answer_(std::move(answer)) {}
    [[nodiscard]] bool interrupted() const override { return answer_->interrupted; }
    void fail(int code) override { answer_->give(code, {}, 0); }
    void reply(std::size_t count) override { answer_->give(0, {}, count); }

 private:
    AnswerPtr answer_;
};

// A writer's descriptors by number; the writer keeps them, as a real one does.
using Descriptors = std::map<int, int>;

class FakeCtl final : public CtlRequest {
 public:
    FakeCtl(AnswerPtr answer, bool nonblocking, std::span<const std::byte> data,
            Descriptors descriptors)
        : CtlRequest(nonblocking, data),
          answer_(std::move(answer)),
          descriptors_(std::move(descriptors)) {}
    [[nodiscard]] bool interrupted() const override { return answer_->interrupted; }
    void fail(int code) override { answer_->give(code, {}, 0); }
    void reply(std::size_t count) override { answer_->give(0, {}, count); }
    [[nodiscard]] Result<UniqueFd> take_fd(int number) const override {
        const auto found = descriptors_.find(number);
        if (found == descriptors_.end()) return failure(EBADF, "no such descriptor");
        return UniqueFd(fcntl(found->second, F_DUPFD_CLOEXEC, 0));
    }
    [[nodiscard]] Result<std::optional<Identity>> dial_as(bool) const override {
        return std::nullopt;
    }

 private:
    AnswerPtr answer_;
    Descriptors descriptors_;
};

// Counts its wake-ups.
class Wakes {
 public:
    void wake() {
        const std::scoped_lock guard(lock_);
        ++count_;
        changed_.notify_all();
    }
    [[nodiscard]] int count() const {
        const std::scoped_lock guard(lock_);
        return count_;
    }
    void wait() const {
        std::unique_lock held(lock_);
        changed_.wait(held, [&] { return count_ > 0; });
    }
    [[nodiscard]] std::unique_ptr<Poller> poller() { return std::make_unique<One>(*this); }

 private:
    class One final : public Poller {
     public:
        explicit One(Wakes& wakes) : wakes_(wakes) {}
        void wake() override { wakes_.wake(); }

     private:
        Wakes& wakes_;
    };
    mutable std::mutex lock_;
    mutable std::condition_variable changed_;
    int count_ = 0;
};

inline constexpr Caller kUser{1000, 1000};

// All that connections need, and threads that serve it.
class Device {
 public:
    explicit Device(int threads = 2, const Policy& policy = {}, SocketPairs* pairs = nullptr)
        : registry(Services{reactor, background, contexts, pems, log, kNoMount, pairs, {}},
                   policy) {
        for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { reactor.run(); });
    }
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;
    ~Device() {
        registry.abandon(ECONNABORTED);
        reactor.stop();
        for (std::thread& thread : threads_) thread.join();
    }
    [[nodiscard]] std::shared_ptr<Connection> connect(Caller owner = kUser) {
        auto made = registry.create(owner);
        REQUIRE(made);
        return std::move(*made);
    }

    Reactor reactor;
    Background background;
    ContextCache contexts;
    PemJudge pems;
    Log log{-1};
    Registry registry;

 private:
    std::vector<std::thread> threads_;
};

inline AnswerPtr start_ctl(Connection& connection, const std::string& lines,
                           const Descriptors& descriptors = {}, bool nonblocking = false,
                           bool interrupted = false) {
    auto answer = std::make_shared<Answer>();
    answer->interrupted = interrupted;
    connection.ctl(std::make_unique<FakeCtl>(answer, nonblocking, bytes(lines), descriptors));
    return answer;
}

// 0 or the errno.
inline int ctl(Connection& connection, const std::string& lines,
               const Descriptors& descriptors = {}) {
    return start_ctl(connection, lines, descriptors)->code();
}

inline AnswerPtr start_read(Connection& connection, std::size_t size = 4096,
                            bool nonblocking = false, bool interrupted = false) {
    auto answer = std::make_shared<Answer>();
    answer->interrupted = interrupted;
    if (const auto opened = connection.open_data(); !opened) {
        answer->give(opened.error().code, {}, 0);
        return answer;
    }
    connection.data().read(std::make_unique<FakeRead>(answer, nonblocking, size));
    return answer;
}

inline AnswerPtr start_write(Connection& connection, std::string_view data,
                             bool nonblocking = false, bool interrupted = false) {
    auto answer = std::make_shared<Answer>();
    answer->interrupted = interrupted;
    if (const auto opened = connection.open_data(); !opened) {
        answer->give(opened.error().code, {}, 0);
        return answer;
    }
    connection.data().write(std::make_unique<FakeWrite>(answer, nonblocking, bytes(data)));
    return answer;
}

inline std::uint32_t poll_data(Connection& connection, const void* file, std::uint32_t wanted,
                               std::unique_ptr<Poller> poller) {
    REQUIRE(connection.open_data());
    return connection.data().poll(file, wanted, std::move(poller));
}

inline Result<> write_pem(Connection& connection, PemFile file, const std::string& pem,
                          bool append = false) {
    if (auto begun = connection.pem_begin(file, append); !begun) return begun;
    auto written = connection.pem_write(file, std::span(pem.data(), pem.size()));
    auto finished = connection.pem_finish(file);
    return written ? finished : written;
}

inline bool has_line(const std::string& text, const std::string& line) {
    return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

// A client connection and its peer: another connection of the same device.
struct Connected {
    std::shared_ptr<Connection> client, server;
};

inline Connected connected(Device& device, Ends ends = socket_pair(),
                           const std::string& client_lines = "") {
    Connected both{device.connect(), device.connect()};
    REQUIRE(write_pem(*both.client, PemFile::ca, world().authority.pem()));
    REQUIRE(write_pem(*both.server, PemFile::cert, world().server.pem()));
    REQUIRE(write_pem(*both.server, PemFile::key, world().server.key_pem()));
    const auto answer = start_ctl(*both.server, "fd 3\nserver\n", {{3, ends.b.get()}});
    REQUIRE(ctl(*both.client, client_lines + "fd 3\nclient server.test\n", {{3, ends.a.get()}}) ==
            0);
    REQUIRE(answer->code() == 0);
    REQUIRE(both.client->open_data());
    REQUIRE(both.server->open_data());  // from here on it receives by itself
    return both;
}

// A client connection whose peer is a bare Tls and its descriptor: it may do anything.
struct Facing {
    std::shared_ptr<Connection> connection;
    std::unique_ptr<Tls> peer;
    UniqueFd fd;
    ContextCache cache;

    void send_wire(std::span<const std::byte> data) const {
        while (!data.empty()) {
            const ssize_t sent = send(fd.get(), data.data(), data.size(), MSG_NOSIGNAL);
            REQUIRE(sent > 0);
            data = data.subspan(static_cast<std::size_t>(sent));
        }
    }
    void flush() {
        send_wire(peer->output().bytes());
        peer->output().consume(peer->output().size());
    }
    bool receive(int flags = 0) {
        std::array<std::byte, 20000> buffer{};
        const ssize_t got = recv(fd.get(), buffer.data(), buffer.size(), flags);
        if (got > 0) peer->input().append(std::span(buffer).first(static_cast<std::size_t>(got)));
        return got > 0;
    }
    void say(std::string_view data) {
        REQUIRE(peer->write(bytes(data)));
        flush();
    }
    // A record that fails authentication.
    void say_garbled() {
        REQUIRE(peer->write(bytes("garbled")));
        std::string wire = text(peer->output().bytes());
        peer->output().consume(wire.size());
        wire.back() = static_cast<char>(wire.back() ^ 1);
        send_wire(bytes(wire));
    }
};

inline std::unique_ptr<Facing> facing(Device& device, Ends ends = socket_pair()) {
    auto both = std::make_unique<Facing>();
    both->connection = device.connect();
    both->peer = make_tls(both->cache, world().server_settings(), Role::server);
    both->fd = std::move(ends.b);
    REQUIRE(write_pem(*both->connection, PemFile::ca, world().authority.pem()));
    const auto answer =
        start_ctl(*both->connection, "fd 3\nclient server.test\n", {{3, ends.a.get()}});
    for (Step step{Step::Outcome::want_input, 0, {}}; step.outcome == Step::Outcome::want_input;) {
        REQUIRE(both->receive());
        step = both->peer->handshake();
        REQUIRE(step.outcome != Step::Outcome::failed);
        both->flush();
    }
    REQUIRE(answer->code() == 0);
    return both;
}

// Writes without waiting until no more is taken: the peer does not read.
inline void stuff(Connection& connection) {
    const std::string piece(60'000, 's');
    int full = 0;
    for (int i = 0; i < 2000; ++i) {
        if (start_write(connection, piece, true)->code() != EAGAIN) {
            full = 0;
            continue;
        }
        if (++full == 50) return;
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    FAIL("a connection whose peer does not read takes bytes without end");
}

}  // namespace tlsfs::test
