// SPDX-License-Identifier: MIT
#include "attach/packet.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "attach/message.h"
#include "core/status.h"

namespace tlsfs {
namespace {

// The kernel's SCM_MAX_FD. With room for all, it does not have to close what we have no room for:
// closing may take for ever.
constexpr std::size_t kMostDescriptors = 253;

void take_control(const msghdr& header, Packet& packet) {
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr;
         c = CMSG_NXTHDR(const_cast<msghdr*>(&header), c)) {
        if (c->cmsg_level != SOL_SOCKET) continue;
        if (c->cmsg_type == SCM_CREDENTIALS) {
            ucred sender{};
            std::memcpy(&sender, CMSG_DATA(c), sizeof sender);
            packet.sender = Caller{sender.uid, sender.gid};
        }
        if (c->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            packet.fds.emplace_back(fd);
        }
    }
}

}  // namespace

Result<> receive_packet(int fd, Packet& packet) {
    std::array<char, kMaxMessage> text;
    alignas(cmsghdr)
        std::array<char, CMSG_SPACE(kMostDescriptors * sizeof(int)) + CMSG_SPACE(sizeof(ucred))>
            control;
    iovec part{text.data(), text.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t size = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (size < 0) return system_failure("attach");
    take_control(header, packet);
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        return failure(EINVAL, "attach: the message is too large");
    }
    packet.text.assign(text.data(), static_cast<std::size_t>(size));
    return {};
}

Result<> send_packet(int fd, std::string_view text, int attached) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec part{const_cast<char*>(text.data()), text.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (attached >= 0) {
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        cmsghdr* rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof attached);
        std::memcpy(CMSG_DATA(rights), &attached, sizeof attached);
    }
    if (sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return system_failure("attach");
    return {};
}

std::string failure_text(const Error& error) {
    const char* name = strerrorname_np(error.code);
    return fmt::format("{} {}", name == nullptr ? "EIO" : name, printable(error.text));
}

}  // namespace tlsfs
