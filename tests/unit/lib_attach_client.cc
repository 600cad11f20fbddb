// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "attach_client.h"
#include "support/attach_host.h"

using namespace tlsfs;
using namespace tlsfs::internal;
using namespace tlsfs::test;
using Kind = AttachReply::Kind;

namespace {

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

UniqueFd open_file(const char* path) {
    UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
    REQUIRE(fd.valid());
    return fd;
}

}  // namespace

TEST_CASE("a request has its lines, and its descriptors in the order of the lines") {
    Host host;
    const AttachClient guest = host.guest();
    AttachRequest request("open");
    request.add_lines("version 1.3 1.3\nverify ca\n");
    request.add_file("ca", open_file("/dev/null"));
    request.add_stream("fd", 0, 0);
    request.add_stream("plain", 0, 1);
    request.add_lines("client example.com\n");
    REQUIRE(guest.send(request));
    const Request seen = host.take();
    CHECK(seen.text ==
          "open\nversion 1.3 1.3\nverify ca\nca -\nfd -\nplain - -\nclient example.com\n");
    const UniqueFd null = open_file("/dev/null");
    REQUIRE(seen.descriptors.size() == 4);
    CHECK(same_file(seen.descriptors[0].get(), null.get()));
    CHECK(same_file(seen.descriptors[1].get(), 0));
    CHECK(same_file(seen.descriptors[2].get(), 0));
    CHECK(same_file(seen.descriptors[3].get(), 1));
}

TEST_CASE("what no message holds is not sent") {
    Host host;
    const AttachClient guest = host.guest();
    AttachRequest long_text("open");
    long_text.add_lines(std::string(kMaxMessage, 'x'));
    CHECK(guest.send(long_text).error().code == EMSGSIZE);
    AttachRequest many("open");
    for (std::size_t i = 0; i <= kMaxDescriptors; ++i) many.add_stream("fd", 0, 0);
    CHECK(guest.send(many).error().code == EMSGSIZE);
}

TEST_CASE("receiving waits for nothing") {
    Host host;
    AttachClient guest = host.guest();
    CHECK(guest.receive()->kind == Kind::pending);
    host.say("ok 17\nState: Established\nVersion: TLSv1.3\n", {0});
    const auto answer = guest.receive();
    REQUIRE(answer);
    CHECK(answer->kind == Kind::answer);
    CHECK(answer->number == 17);
    CHECK(answer->text == "State: Established\nVersion: TLSv1.3\n");
    REQUIRE(answer->descriptor.valid());
    CHECK(same_file(answer->descriptor.get(), 0));
    CHECK((fcntl(answer->descriptor.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(guest.receive()->kind == Kind::pending);
    host.leave();
    CHECK(guest.receive()->kind == Kind::end);
}

TEST_CASE("states that come before an answer are kept") {
    Host host;
    AttachClient guest = host.guest();
    host.say("state\nState: RemoteClosed\n");
    host.say("state\nState: Closed\n");
    host.say("ok\nDataIn: 1\n");
    const auto answer = guest.ask(AttachRequest("stats 4"), soon());
    REQUIRE(answer);
    CHECK(host.take().text == "stats 4\n");
    CHECK(answer->text == "DataIn: 1\n");
    CHECK_FALSE(answer->number);
    CHECK(guest.latest_state() == "State: Closed\n");
}

TEST_CASE("a refusal is its errno and its reason") {
    struct Case {
        std::string answer;
        int code;
        std::string text;
    };
    const std::array cases{
        Case{"EKEYREJECTED self-signed certificate", EKEYREJECTED, "self-signed certificate"},
        Case{"EOPNOTSUPP not a connected stream\n", EOPNOTSUPP, "not a connected stream"},
        Case{"EPERM", EPERM, std::strerror(EPERM)},
        Case{"EINVAL \x1b[2J", EINVAL, "?[2J"},
        Case{"EWHATEVER \x1b[2J", EPROTO, "attach: an answer that is none: EWHATEVER ?[2J"},
        Case{"ok then", EPROTO, "attach: an answer that is none: ok then"},
        Case{"ok 4294967296", EPROTO, "attach: an answer that is none: ok 4294967296"},
        Case{"\n", EPROTO, "attach: an answer that is none: "},
    };
    Host host;
    AttachClient guest = host.guest();
    for (const auto& [answer, code, text] : cases) {
        host.say(answer);
        const auto message = guest.receive();
        REQUIRE_FALSE(message);
        CHECK(message.error().code == code);
        CHECK(message.error().text == text);
    }
}

TEST_CASE("more than one descriptor, or more text than a message has, is refused and closed") {
    Host host;
    AttachClient guest = host.guest();
    const std::size_t before = open_descriptors();
    host.say("ok 1", {0, 1});
    CHECK(guest.receive().error().code == EPROTO);
    host.say("ok 1", {0, 0, 0, 0, 0, 0, 0, 0});
    CHECK(guest.receive().error().code == EPROTO);
    host.say("EPERM", {0});
    CHECK(guest.receive().error().code == EPERM);
    host.say("ok 1\n" + std::string(kMaxMessage, 'x'), {0});
    CHECK(guest.receive().error().code == EPROTO);
    CHECK(open_descriptors() == before);
}

TEST_CASE("a companion that ends says whether it had read the request") {
    Host before;
    AttachClient unread = before.guest();
    REQUIRE(unread.send(AttachRequest("list")));
    before.leave();
    CHECK(unread.answer(soon()).error().code == EPIPE);
    CHECK(unread.send(AttachRequest("list")).error().code == EPIPE);

    Host after;
    AttachClient read = after.guest();
    REQUIRE(read.send(AttachRequest("list")));
    CHECK(after.take().text == "list\n");
    after.leave();
    CHECK(read.answer(soon()).error().code == ENOTCONN);
}

TEST_CASE("waiting ends at the deadline") {
    Host host;
    AttachClient guest = host.guest();
    CHECK(guest.wait(std::chrono::steady_clock::now()).error().code == ETIMEDOUT);
}

TEST_CASE("a name of an errno is found, another is none") {
    CHECK(errno_of_name("EPERM") == EPERM);
    CHECK(errno_of_name("EKEYREVOKED") == EKEYREVOKED);
    CHECK(errno_of_name("EHWPOISON") == EHWPOISON);
    CHECK(errno_of_name("EWHATEVER") == 0);
    CHECK(errno_of_name("") == 0);
}

TEST_CASE(
    "a guest connects through the mount's descriptor, or to a socket, however long the path") {
    std::string name = "/tmp/lib_attach.XXXXXX";
    REQUIRE(mkdtemp(name.data()) != nullptr);
    const std::string deep = name + "/" + std::string(200, 'd');
    std::filesystem::create_directory(deep);
    const UniqueFd directory(open(deep.c_str(), O_PATH | O_CLOEXEC));

    const UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{AF_UNIX, {}};
    const std::string path = "/proc/self/fd/" + std::to_string(directory.get()) + "/attach";
    path.copy(static_cast<char*>(address.sun_path), sizeof(address.sun_path) - 1);
    const auto* where = reinterpret_cast<const sockaddr*>(&address);
    REQUIRE(bind(listener.get(), where, sizeof(address)) == 0);
    REQUIRE(listen(listener.get(), 4) == 0);

    const Mount mount{deep, UniqueFd(open(deep.c_str(), O_PATH | O_CLOEXEC))};
    CHECK(AttachClient::connect(mount));
    const auto socket_mount = open_mount(deep + "/attach");
    REQUIRE(socket_mount);
    CHECK(socket_mount->is_socket);
    CHECK(AttachClient::connect(*socket_mount));

    std::filesystem::remove(deep + "/attach");
    CHECK(AttachClient::connect(mount).error().code == ENOENT);
    std::filesystem::remove_all(name);
}
