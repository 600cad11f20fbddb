// SPDX-License-Identifier: MIT
// The companion's side of attach, played by a test.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "attach_client.h"

namespace tlsfs::test {

struct Request {
    std::string text;
    std::vector<UniqueFd> descriptors;
};

// The companion's end of a guest's socket.
class Host {
 public:
    Host() {
        std::array<int, 2> ends{};
        REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0);
        ours_ = UniqueFd(ends[0]);
        guest_ = UniqueFd(ends[1]);
    }
    explicit Host(UniqueFd accepted) : ours_(std::move(accepted)) {}

    internal::AttachClient guest() { return internal::AttachClient(std::move(guest_)); }

    [[nodiscard]] Request take() const {
        std::array<char, internal::kMaxMessage> text{};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(8 * sizeof(int))> control{};
        iovec part{text.data(), text.size()};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t size = recvmsg(ours_.get(), &message, MSG_CMSG_CLOEXEC);
        REQUIRE(size >= 0);
        Request request{{text.data(), static_cast<std::size_t>(size)}, {}};
        const cmsghdr* header = CMSG_FIRSTHDR(&message);
        const std::size_t count =
            header == nullptr ? 0 : (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(fd), sizeof(fd));
            request.descriptors.emplace_back(fd);
        }
        return request;
    }

    void say(const std::string& text, std::vector<int> descriptors = {}) const {
        iovec part{const_cast<char*>(text.data()), text.size()};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(8 * sizeof(int))> control{};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        if (!descriptors.empty()) {
            message.msg_control = control.data();
            message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
            cmsghdr* header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
            std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size() * sizeof(int));
        }
        REQUIRE(sendmsg(ours_.get(), &message, MSG_NOSIGNAL) >= 0);
    }

    void leave() { ours_.reset(); }

 private:
    UniqueFd ours_, guest_;
};

inline bool same_file(int one, int other) {
    struct stat a{};
    struct stat b{};
    REQUIRE(fstat(one, &a) == 0);
    REQUIRE(fstat(other, &b) == 0);
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace tlsfs::test
