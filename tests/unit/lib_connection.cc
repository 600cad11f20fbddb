// SPDX-License-Identifier: MIT
// The library against a companion that is played by the test.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "support/attach_host.h"
#include "tlsclient.hpp"

using namespace tlsfs;
using namespace tlsfs::test;

namespace {

struct Pair {
    UniqueFd one, other;
};

Pair stream_pair() {
    std::array<int, 2> ends{};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// A companion without a mount, which TLSFS names. A thread plays it.
class Companion {
 public:
    Companion() {
        std::string name = "/tmp/lib_connection.XXXXXX";
        REQUIRE(mkdtemp(name.data()) != nullptr);
        directory_ = name;
        listener_ = UniqueFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        sockaddr_un address{AF_UNIX, {}};
        path("socket").copy(static_cast<char*>(address.sun_path), sizeof(address.sun_path) - 1);
        const auto* where = reinterpret_cast<const sockaddr*>(&address);
        REQUIRE(bind(listener_.get(), where, sizeof(address)) == 0);
        REQUIRE(listen(listener_.get(), 4) == 0);
        setenv("TLSFS", path("socket").c_str(), 1);
    }
    Companion(const Companion&) = delete;
    Companion& operator=(const Companion&) = delete;
    ~Companion() {
        if (thread_.joinable()) thread_.join();
        unsetenv("TLSFS");
        std::filesystem::remove_all(directory_);
    }

    void plays(std::function<void(Companion&)> part) {
        thread_ = std::thread([this, part = std::move(part)] { part(*this); });
    }
    void is_done() { thread_.join(); }

    [[nodiscard]] Host next_guest() const {
        UniqueFd guest(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        REQUIRE(guest.valid());
        return Host(std::move(guest));
    }

    [[nodiscard]] std::string path(const std::string& name) const {
        return directory_ + "/" + name;
    }
    [[nodiscard]] std::string file(const std::string& name) const {
        std::ofstream(path(name)) << name;
        return path(name);
    }

 private:
    std::string directory_;
    UniqueFd listener_;
    std::thread thread_;
};

std::string text_of(int fd) {
    std::array<char, 64> text{};
    const ssize_t size = read(fd, text.data(), text.size());
    return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

constexpr const char* kOk = "ok 7\nState: Established\nVersion: TLSv1.3\nPeer: CN=\x1b[1m\n";

}  // namespace

TEST_CASE("a client is one message and one answer") {
    Companion companion;
    const Pair transport = stream_pair();
    const Pair plain = stream_pair();
    companion.plays([&](Companion& self) {
        const Host guest = self.next_guest();
        const Request request = guest.take();
        CHECK(request.text == "open\nalpn h2\nfd -\nclient example.com\n");
        REQUIRE(request.descriptors.size() == 1);
        CHECK(same_file(request.descriptors[0].get(), transport.one.get()));
        guest.say(kOk, {plain.one.get()});
    });
    ClientOptions options;
    options.name = "example.com";
    options.policy.alpn = {"h2"};
    Failure why;
    auto connection = client(Transport::stream(transport.one.get()), options, why);
    companion.is_done();
    REQUIRE_MESSAGE(connection, why.text);
    CHECK(connection->number() == 7);
    CHECK(connection->agreed().at("Version") == "TLSv1.3");
    CHECK(connection->agreed().at("Peer") == "CN=?[1m");
    CHECK(connection->path_of("peer").empty());
    CHECK(same_file(connection->data(), plain.one.get()));
    CHECK((fcntl(connection->data(), F_GETFD) & FD_CLOEXEC) != 0);
    const UniqueFd data(connection->release());
    CHECK(same_file(data.get(), plain.one.get()));
}

TEST_CASE("files go as descriptors, in the order of their lines") {
    Companion companion;
    const Pair in = stream_pair();
    const Pair out = stream_pair();
    companion.plays([&](Companion& self) {
        const Host guest = self.next_guest();
        const Request request = guest.take();
        CHECK(request.text == "open\nverify ca\nca -\ncert -\nkey -\nfd - -\nserver\n");
        REQUIRE(request.descriptors.size() == 5);
        CHECK(text_of(request.descriptors[0].get()) == "ca.pem");
        CHECK(text_of(request.descriptors[1].get()) == "cert.pem");
        CHECK(text_of(request.descriptors[2].get()) == "key.pem");
        CHECK(same_file(request.descriptors[3].get(), in.one.get()));
        CHECK(same_file(request.descriptors[4].get(), out.one.get()));
        guest.say("EKEYREJECTED handshake: no certificate");
    });
    ServerOptions options;
    options.cert_file = companion.file("cert.pem");
    options.key_file = companion.file("key.pem");
    options.client_ca_file = companion.file("ca.pem");
    Failure why;
    CHECK_FALSE(server(Transport::pair(in.one.get(), out.one.get()), options, why));
    CHECK(why.code == EKEYREJECTED);
    CHECK(why.text == "handshake: no certificate");
    options.key_file = companion.path("missing.pem");
    CHECK_FALSE(server(Transport::pair(in.one.get(), out.one.get()), options, why));
    CHECK(why.code == ENOENT);
}

TEST_CASE("what is dialled is connected here, and its time is taken off") {
    Companion companion;
    const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(listen(listener.get(), 1) == 0);
    sockaddr_in address{};
    socklen_t size = sizeof(address);
    REQUIRE(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    companion.plays([&](Companion& self) {
        const Host guest = self.next_guest();
        const Request request = guest.take();
        CHECK(request.text.starts_with("open\ntimeout 60.000\ntimeout "));
        CHECK(request.text.ends_with("\nfd -\nclient 127.0.0.1\n"));
        sockaddr_in peer{};
        socklen_t peer_size = sizeof(peer);
        REQUIRE(request.descriptors.size() == 1);
        CHECK(getpeername(request.descriptors[0].get(), reinterpret_cast<sockaddr*>(&peer),
                          &peer_size) == 0);
        CHECK(peer.sin_port == address.sin_port);
        guest.say("ok 1");  // and no data socket
    });
    ClientOptions options;
    options.policy.timeout = std::chrono::minutes(1);
    Failure why;
    const auto target = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    CHECK_FALSE(client(Transport::dial(target), options, why));
    CHECK(why.code == EPROTO);
}

TEST_CASE("a companion that ended with the request unread is asked again, any other is not") {
    Companion companion;
    const Pair transport = stream_pair();
    const Pair plain = stream_pair();
    companion.plays([&](Companion& self) {
        {
            const Host ends_at_once = self.next_guest();
        }
        const Host guest = self.next_guest();
        CHECK(guest.take().text == "open\nfd -\nclient\n");
        guest.say(kOk, {plain.one.get()});
        const Host ends_later = self.next_guest();
        CHECK(ends_later.take().text == "open\nfd -\nclient\n");
    });
    Failure why;
    CHECK(client(Transport::stream(transport.one.get()), {}, why));
    CHECK_FALSE(client(Transport::stream(transport.one.get()), {}, why));
    CHECK(why.code == ENOTCONN);
}

TEST_CASE("a connection is asked by its number, and its last state is kept") {
    Companion companion;
    const Pair transport = stream_pair();
    const Pair plain = stream_pair();
    companion.plays([&](Companion& self) {
        const Host guest = self.next_guest();
        CHECK(guest.take().text.starts_with("open\n"));
        guest.say(kOk, {plain.one.get()});
        CHECK(guest.take().text == "stats 7\n");
        guest.say("state\nState: RemoteClosed\n");
        guest.say("ok\nDataIn: 12\nDataOut: x\n");
        CHECK(guest.take().text == "peer 7\n");
        guest.say("ok\n-----BEGIN CERTIFICATE-----\n");
        CHECK(guest.take().text == "ctl 7\nkeyupdate\n");
        guest.say("EPROTO keyupdate: not in TLS 1.2");
        CHECK(guest.take().text == "ctl 7\nhangup\n");
        guest.say("ok\n");
        guest.say("state\nState: Error\nError: cut short\n");
    });
    Failure why;
    auto connection = client(Transport::stream(transport.one.get()), {}, why);
    REQUIRE_MESSAGE(connection, why.text);
    CHECK(connection->stats(why) == std::map<std::string, std::uint64_t>{{"DataIn", 12}});
    CHECK(connection->peer(why) == "-----BEGIN CERTIFICATE-----\n");
    CHECK(connection->keyupdate().text == "keyupdate: not in TLS 1.2");
    CHECK_FALSE(connection->hangup());
    companion.is_done();
    const auto status = connection->status(why);
    REQUIRE_MESSAGE(status, why.text);
    CHECK(status->at("Error") == "cut short");
    CHECK(connection->hangup().code == ENOTCONN);
    CHECK_FALSE(connection->stats(why));
}

TEST_CASE("close is a half-close of the socket") {
    Companion companion;
    const Pair transport = stream_pair();
    const Pair plain = stream_pair();
    companion.plays([&](Companion& self) {
        const Host guest = self.next_guest();
        CHECK(guest.take().text.starts_with("open\n"));
        guest.say(kOk, {plain.one.get()});
    });
    Failure why;
    auto connection = client(Transport::stream(transport.one.get()), {}, why);
    REQUIRE_MESSAGE(connection, why.text);
    CHECK_FALSE(connection->close());
    CHECK(text_of(plain.other.get()).empty());
    REQUIRE(write(plain.other.get(), "more", 4) == 4);
    CHECK(text_of(connection->data()) == "more");
}

TEST_CASE("options are tried out without a transport") {
    Companion companion;
    companion.plays([&](Companion& self) {
        const Host first = self.next_guest();
        const Request request = first.take();
        CHECK(request.text == "check\ncert -\nkey -\nserver\n");
        CHECK(request.descriptors.size() == 2);
        first.say("ok\n");
        const Host second = self.next_guest();
        CHECK(second.take().text == "check\nverify none\nclient localhost\n");
        second.say("EACCES verify: forbidden");
    });
    ServerOptions options;
    options.cert_file = companion.file("cert.pem");
    options.key_file = companion.file("key.pem");
    CHECK_FALSE(check(options));
    ClientOptions insecure;
    insecure.accept_any_certificate = true;
    CHECK(check(insecure).code == EACCES);
}

TEST_CASE("nobody at the socket") {
    const Pair transport = stream_pair();
    std::string path;
    {
        const Companion gone;
        path = gone.path("socket");
    }
    setenv("TLSFS", path.c_str(), 1);
    setenv("TLSFS_AUTOSTART", "0", 1);
    Failure why;
    CHECK_FALSE(client(Transport::stream(transport.one.get()), {}, why));
    CHECK(why.code == ENOENT);
    unsetenv("TLSFS");
    unsetenv("TLSFS_AUTOSTART");
}

TEST_CASE("a transport that is no descriptor is refused before anybody is asked") {
    Failure why;
    CHECK_FALSE(client(Transport::stream(-1), {}, why));
    CHECK(why.code == EBADF);
}
