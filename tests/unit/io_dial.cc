// SPDX-License-Identifier: MIT
#include "io/dial.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/un.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "io/background.h"
#include "support/descriptors.h"

using namespace tlsfs;
using namespace tlsfs::test;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

Result<UniqueFd> dial_for(const command::Dial& target,
                          milliseconds patience = milliseconds{60'000}) {
    const Cancellation nobody;
    return dial(target, std::nullopt, steady_clock::now() + patience, nobody);
}

std::string port_text(const UniqueFd& listener) {
    return std::to_string(port_of(listener.get()));
}

// A directory for a Unix socket.
class Directory {
 public:
    Directory() {
        std::string name = "/tmp/io_dial.XXXXXX";
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
    ~Directory() { std::filesystem::remove_all(path_); }
    [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
    std::string path_;
};

UniqueFd listen_at(const std::string& path, int backlog) {
    UniqueFd fd = checked(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path.size() < sizeof address.sun_path);
    path.copy(address.sun_path, path.size());
    REQUIRE(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(fd.get(), backlog) == 0);
    return fd;
}

// Fills a TCP listener's backlog, so that the next to connect waits.
std::vector<UniqueFd> crowd(const UniqueFd& listener) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port_of(listener.get()));
    std::vector<UniqueFd> waiting;
    for (int i = 0; i < 8; ++i) {
        waiting.push_back(checked(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)));
        (void)connect(waiting.back().get(), reinterpret_cast<sockaddr*>(&to), sizeof to);
    }
    return waiting;
}

}  // namespace

TEST_CASE("dial: IPv4 and IPv6") {
    const UniqueFd listener = listen_on_loopback();
    const auto four = dial_for({"127.0.0.1", port_text(listener), {}});
    REQUIRE(four);
    CHECK((fcntl(four->get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(dial_for({"localhost", port_text(listener), {}}));

    const UniqueFd probe(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 loopback{};
    loopback.sin6_family = AF_INET6;
    loopback.sin6_addr = in6addr_loopback;
    if (!probe.valid() ||
        bind(probe.get(), reinterpret_cast<sockaddr*>(&loopback), sizeof loopback) != 0)
        return;
    const UniqueFd six = listen_on_loopback(AF_INET6);
    CHECK(dial_for({"::1", port_text(six), {}}));
}

TEST_CASE("dial: refused, and unknown") {
    UniqueFd listener = listen_on_loopback();
    const std::string port = port_text(listener);
    listener.reset();
    const auto refused = dial_for({"127.0.0.1", port, {}});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ECONNREFUSED);
    CHECK(refused.error().text.find("127.0.0.1:" + port) != std::string::npos);

    const auto service = dial_for({"127.0.0.1", "no-such-service", {}});
    REQUIRE_FALSE(service);
    CHECK(service.error().code == EINVAL);

    const auto name = dial_for({"no such name", "1", {}});
    REQUIRE_FALSE(name);
    CHECK(name.error().code == EHOSTUNREACH);
}

TEST_CASE("dial: the deadline") {
    const UniqueFd listener = listen_on_loopback(AF_INET, 0);
    const auto waiting = crowd(listener);
    const auto late = dial_for({"127.0.0.1", port_text(listener), {}}, milliseconds{50});
    REQUIRE_FALSE(late);
    CHECK(late.error().code == ETIMEDOUT);
}

TEST_CASE("dial: broken off") {
    const UniqueFd listener = listen_on_loopback(AF_INET, 0);
    const auto waiting = crowd(listener);
    Cancellation cancellation;
    std::thread canceller([&] { cancellation.cancel(); });
    const auto gone = dial({"127.0.0.1", port_text(listener), {}}, std::nullopt,
                           steady_clock::now() + std::chrono::hours{1}, cancellation);
    canceller.join();
    REQUIRE_FALSE(gone);
    CHECK(gone.error().code == ECANCELED);
}

TEST_CASE("dial: Unix sockets") {
    const Directory directory;
    const std::string path = directory.file("socket with blank");
    UniqueFd listener = listen_at(path, 0);
    const auto first = dial_for({{}, {}, path});
    REQUIRE(first);
    // One more fits into a backlog of 0; then all have to wait.
    const auto second = dial_for({{}, {}, path}, milliseconds{50});
    const auto late = dial_for({{}, {}, path}, milliseconds{50});
    REQUIRE_FALSE(late);
    CHECK(late.error().code == ETIMEDOUT);

    Cancellation cancellation;
    cancellation.cancel();
    const auto gone = dial({{}, {}, path}, std::nullopt,
                           steady_clock::now() + std::chrono::hours{1}, cancellation);
    REQUIRE_FALSE(gone);
    CHECK(gone.error().code == ECANCELED);

    listener.reset();
    CHECK(dial_for({{}, {}, path}).error().code == ECONNREFUSED);
    CHECK(dial_for({{}, {}, directory.file("none")}).error().code == ENOENT);
    CHECK(dial_for({{}, {}, "/" + std::string(200, 'x')}).error().code == ENAMETOOLONG);
}

TEST_CASE("dial: as somebody else") {
    if (geteuid() != 0) return;
    const Directory directory;  // mode 0700, ours
    const std::string path = directory.file("socket");
    const UniqueFd listener = listen_at(path, 8);
    const Cancellation nobody;
    const auto deadline = steady_clock::now() + std::chrono::minutes{1};
    const auto refused = dial({{}, {}, path}, Identity{65534, 65534, {}}, deadline, nobody);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == EACCES);
    CHECK(geteuid() == 0);
    CHECK(getegid() == 0);
    CHECK(dial({{}, {}, path}, std::nullopt, deadline, nobody));
}

TEST_CASE("background: every task runs") {
    std::mutex lock;
    std::condition_variable changed;
    int ran = 0;
    Background background;
    for (int i = 0; i < 500; ++i) {
        background.run(1000, [&] {
            const std::scoped_lock guard(lock);
            if (++ran == 500) changed.notify_all();
        });
    }
    std::unique_lock held(lock);
    changed.wait(held, [&] { return ran == 500; });
}
