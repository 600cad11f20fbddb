// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "attach.h"
#include "core/unique_fd.h"

using tlsfs::UniqueFd;
using tlsfs::internal::attach;

namespace {

struct Seen {
    std::string text;
    std::size_t descriptors = 0;
};

// A mount of one file: an attach socket that takes one message and gives one answer.
class AttachSocket {
 public:
    AttachSocket() {
        std::string name = "/tmp/lib_attach.XXXXXX";
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path_ = name;
        directory_ = UniqueFd(open(name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        listener_ = UniqueFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        sockaddr_un address{AF_UNIX, {}};
        (name + "/attach").copy(static_cast<char*>(address.sun_path), sizeof(address.sun_path) - 1);
        const auto* where = reinterpret_cast<const sockaddr*>(&address);
        REQUIRE(bind(listener_.get(), where, sizeof(address)) == 0);
        REQUIRE(listen(listener_.get(), 1) == 0);
    }
    AttachSocket(const AttachSocket&) = delete;
    AttachSocket& operator=(const AttachSocket&) = delete;
    ~AttachSocket() { std::filesystem::remove_all(path_); }

    [[nodiscard]] int directory() const { return directory_.get(); }

    Seen answer(const std::string& reply) const {
        const UniqueFd peer(accept(listener_.get(), nullptr, nullptr));
        std::array<char, 64> text{};
        alignas(cmsghdr) std::array<char, 128> control{};
        iovec part{text.data(), text.size()};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t size = recvmsg(peer.get(), &message, MSG_CMSG_CLOEXEC);
        Seen seen{{text.data(), static_cast<std::size_t>(size)}, 0};
        if (const cmsghdr* header = CMSG_FIRSTHDR(&message)) {
            seen.descriptors = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        }
        send(peer.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
        return seen;
    }

 private:
    std::string path_;
    UniqueFd directory_, listener_;
};

}  // namespace

TEST_CASE("attach sends the number and one descriptor, or two") {
    const AttachSocket companion;
    for (const int write_fd : {0, 1}) {
        Seen seen;
        std::thread answering([&] { seen = companion.answer("ok"); });
        const auto attached = attach(companion.directory(), 17, 0, write_fd);
        answering.join();
        CHECK(attached);
        CHECK(seen.text == "17");
        CHECK(seen.descriptors == static_cast<std::size_t>(write_fd + 1));
    }
}

TEST_CASE("attach tells the answer's errno and cause") {
    struct Case {
        std::string reply;
        int code;
        std::string text;
    };
    const std::array cases{
        Case{"EOPNOTSUPP not a connected stream", EOPNOTSUPP, "attach: not a connected stream"},
        Case{"EPERM", EPERM, "attach: EPERM"},
        Case{"EWHATEVER \x1b[2J", EPROTO, "attach: ?[2J"},
        Case{"", EPROTO, "attach: "},
    };
    const AttachSocket companion;
    for (const auto& [reply, code, text] : cases) {
        std::thread answering([&] { companion.answer(reply); });
        const auto attached = attach(companion.directory(), 1, 0, 0);
        answering.join();
        REQUIRE_FALSE(attached);
        CHECK(attached.error().code == code);
        CHECK(attached.error().text == text);
    }
}

TEST_CASE("attach without a socket fails") {
    const UniqueFd directory(open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC));
    CHECK(attach(directory.get(), 1, 0, 0).error().code == ENOENT);
}
