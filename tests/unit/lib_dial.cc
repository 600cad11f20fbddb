// SPDX-License-Identifier: MIT
#include "dial.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

using namespace tlsfs;
using namespace tlsfs::internal;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr milliseconds kLong{60'000};

Result<UniqueFd> dial_for(const std::string& text, milliseconds patience = kLong) {
    const auto target = parse_dial_target(text);
    if (!target) return tl::unexpected(target.error());
    return dial(*target, steady_clock::now() + patience);
}

struct Listener {
    UniqueFd fd;
    in_port_t port;
    [[nodiscard]] std::string at(const std::string& host) const {
        return host + ":" + std::to_string(ntohs(port));
    }
};

Listener listen_on_loopback(int backlog = 8) {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    REQUIRE(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(listen(fd.get(), backlog) == 0);
    REQUIRE(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return {std::move(fd), address.sin_port};
}

class Directory {
 public:
    Directory() {
        std::string name = "/tmp/lib_dial.XXXXXX";
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
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{AF_UNIX, {}};
    path.copy(static_cast<char*>(address.sun_path), sizeof(address.sun_path) - 1);
    REQUIRE(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(listen(fd.get(), backlog) == 0);
    return fd;
}

}  // namespace

TEST_CASE("dial: an address and a name") {
    const Listener listener = listen_on_loopback();
    for (const char* host : {"127.0.0.1", "localhost"}) {
        const auto fd = dial_for(listener.at(host));
        REQUIRE(fd);
        CHECK((fcntl(fd->get(), F_GETFL) & O_NONBLOCK) == 0);
        CHECK((fcntl(fd->get(), F_GETFD) & FD_CLOEXEC) != 0);
        sockaddr_in peer{};
        socklen_t size = sizeof(peer);
        REQUIRE(getpeername(fd->get(), reinterpret_cast<sockaddr*>(&peer), &size) == 0);
        CHECK(peer.sin_port == listener.port);
    }
}

TEST_CASE("dial: the causes of failure") {
    Listener gone = listen_on_loopback();
    gone.fd.reset();
    const auto refused = dial_for(gone.at("127.0.0.1"));
    CHECK(refused.error().code == ECONNREFUSED);
    CHECK(refused.error().text == "dial " + gone.at("127.0.0.1") + ": Connection refused");
    CHECK(dial_for("no-such-host.invalid:443").error().code == EHOSTUNREACH);
    for (const char* text : {"localhost", "localhost:", ":443", "localhost:65579", "::1:443"}) {
        CHECK(dial_for(text).error().code == EINVAL);
    }
    CHECK(dial_for("127.0.0.1:no-such-service").error().code == EINVAL);
}

TEST_CASE("dial: a peer that does not answer is given up at the deadline") {
    const Listener listener = listen_on_loopback(0);
    // The queue is full: the next SYN is dropped.
    std::vector<UniqueFd> waiting;
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = listener.port;
    for (int i = 0; i < 8; ++i) {
        waiting.emplace_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        (void)connect(waiting.back().get(), reinterpret_cast<sockaddr*>(&to), sizeof(to));
    }
    CHECK(dial_for(listener.at("127.0.0.1"), milliseconds{50}).error().code == ETIMEDOUT);
}

TEST_CASE("dial: no time at all is enough for no name") {
    CHECK(dial_for("localhost:443", milliseconds{-1}).error().code == ETIMEDOUT);
}

TEST_CASE("dial: a Unix socket") {
    const Directory directory;
    const UniqueFd listener = listen_at(directory.file("socket"), 0);
    const auto first = dial_for(directory.file("socket"));
    REQUIRE(first);
    CHECK((fcntl(first->get(), F_GETFL) & O_NONBLOCK) == 0);
    CHECK(dial_for(directory.file("socket"), milliseconds{50}).error().code == ETIMEDOUT);
    CHECK(dial_for(directory.file("missing")).error().code == ENOENT);
    CHECK(dial_for("/" + std::string(200, 'x')).error().code == ENAMETOOLONG);
}
