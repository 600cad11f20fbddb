// SPDX-License-Identifier: MIT
#include "attach_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "retry.h"

namespace tlsfs::internal {
namespace {

using Clock = std::chrono::steady_clock;
using Kind = AttachReply::Kind;
using std::chrono::milliseconds;

constexpr std::chrono::seconds kPatience{10};
constexpr timeval kPatienceToSend{kPatience.count(), 0};

// Room for more descriptors than an answer has, so that all that arrive can be counted.
constexpr std::size_t kControlSize = CMSG_SPACE(kMaxDescriptors * sizeof(int));

int milliseconds_until(Deadline deadline) {
    if (!deadline) return -1;
    const auto left = std::chrono::ceil<milliseconds>(*deadline - Clock::now()).count();
    return static_cast<int>(std::clamp<milliseconds::rep>(left, 0, 86'400'000));
}

std::vector<UniqueFd> take_descriptors(msghdr& message) {
    std::vector<UniqueFd> descriptors;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
            descriptors.emplace_back(fd);
        }
    }
    return descriptors;
}

tl::unexpected<Error> companion_never_read() {
    return failure(EPIPE, "attach: the companion has ended");
}

}  // namespace

Deadline soon() {
    return Clock::now() + kPatience;
}

// Through /proc, because sun_path holds 107 bytes and a mount's path may be longer, and because the
// descriptor means this mount and no later one at the same place.
Result<AttachClient> AttachClient::connect(const Mount& mount) {
    sockaddr_un address{AF_UNIX, {}};
    const std::string path = mount.attach_path();
    path.copy(static_cast<char*>(address.sun_path), sizeof(address.sun_path) - 1);

    UniqueFd socket_fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket_fd.valid()) return system_failure("attach");
    // For connect(2) too, which waits while the listener's queue is full.
    setsockopt(socket_fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatienceToSend, sizeof(timeval));
    const auto* where = reinterpret_cast<const sockaddr*>(&address);
    if (uninterrupted([&] { return ::connect(socket_fd.get(), where, sizeof(address)); }) != 0) {
        return system_failure(mount.path + ": attach");
    }
    return AttachClient(std::move(socket_fd));
}

Result<> AttachClient::send(const AttachRequest& request) const {
    const std::vector<int>& descriptors = request.descriptors();
    if (request.text().size() > kMaxMessage || descriptors.size() > kMaxDescriptors) {
        return failure(EMSGSIZE, "attach: more than one message holds");
    }
    iovec text{const_cast<char*>(request.text().data()), request.text().size()};
    alignas(cmsghdr) std::array<char, kControlSize> control{};
    msghdr message{};
    message.msg_iov = &text;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
        const std::size_t size = descriptors.size() * sizeof(int);
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(size);
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(size);
        std::memcpy(CMSG_DATA(header), descriptors.data(), size);
    }
    const auto sent = uninterrupted([&] { return sendmsg(fd(), &message, MSG_NOSIGNAL); });
    if (sent >= 0) return {};
    if (errno == EPIPE || errno == ECONNRESET) return companion_never_read();
    return system_failure("attach");
}

Result<AttachReply> AttachClient::receive() {
    std::array<char, kMaxMessage> text;
    alignas(cmsghdr) std::array<char, kControlSize> control;
    iovec part{text.data(), text.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const int flags = MSG_CMSG_CLOEXEC | MSG_DONTWAIT;
    const ssize_t size = uninterrupted([&] { return recvmsg(fd(), &header, flags); });
    if (size < 0 && errno == EAGAIN) return AttachReply{};
    // The kernel says so, and not end of file, if the socket was closed with our request unread.
    if (size < 0 && errno == ECONNRESET) return companion_never_read();
    if (size < 0) return system_failure("attach");

    std::vector<UniqueFd> descriptors = take_descriptors(header);
    if (size == 0) return AttachReply{.kind = Kind::end};
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || descriptors.size() > 1) {
        return failure(EPROTO, "attach: an answer that is too large");
    }
    auto message = parse_attach_reply({text.data(), static_cast<std::size_t>(size)});
    if (!message) return message;
    if (!descriptors.empty()) message->descriptor = std::move(descriptors.front());
    if (message->kind == Kind::state) latest_state_ = message->text;
    return message;
}

Result<AttachReply> AttachClient::wait(Deadline deadline) {
    for (;;) {
        pollfd entry{fd(), POLLIN, 0};
        const int count = poll(&entry, 1, milliseconds_until(deadline));
        if (count < 0 && errno != EINTR) return system_failure("attach");
        if (count == 0) return failure(ETIMEDOUT, "attach: the companion does not answer");
        if (count < 0) continue;
        auto message = receive();
        if (!message || message->kind != Kind::pending) return message;
    }
}

Result<AttachReply> AttachClient::ask(const AttachRequest& request, Deadline deadline) {
    if (const auto sent = send(request); !sent) return tl::unexpected(sent.error());
    return answer(deadline);
}

Result<AttachReply> AttachClient::answer(Deadline deadline) {
    for (;;) {
        auto message = wait(deadline);
        if (!message || message->kind == Kind::answer) return message;
        if (message->kind == Kind::end) return failure(ENOTCONN, "attach: the companion has ended");
    }
}

}  // namespace tlsfs::internal
