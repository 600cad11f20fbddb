// SPDX-License-Identifier: MIT
#include "attach.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "core/unique_fd.h"
#include "retry.h"
#include "text.h"

namespace tlsfs::internal {
namespace {

constexpr timeval kPatience{10, 0};  // the answer takes no round trip to the peer

struct ErrorName {
    std::string_view name;
    int code;
};

// What the attach socket can answer, as tls(4) has it.
constexpr std::array kErrorNames{
    ErrorName{"EBADF", EBADF},       ErrorName{"EBUSY", EBUSY},
    ErrorName{"EINVAL", EINVAL},     ErrorName{"ELOOP", ELOOP},
    ErrorName{"EMFILE", EMFILE},     ErrorName{"ENFILE", ENFILE},
    ErrorName{"ENOENT", ENOENT},     ErrorName{"ENOMEM", ENOMEM},
    ErrorName{"ENOTCONN", ENOTCONN}, ErrorName{"EOPNOTSUPP", EOPNOTSUPP},
    ErrorName{"EPERM", EPERM},
};

Result<> parse_reply(std::string_view reply) {
    if (reply == "ok" || reply == "ok\n") return {};
    const auto blank = std::min(reply.find(' '), reply.size());
    const auto known = std::ranges::find(kErrorNames, reply.substr(0, blank), &ErrorName::name);
    const int code = known == kErrorNames.end() ? EPROTO : known->code;
    std::string text = "attach: ";
    text += blank == reply.size() ? reply : reply.substr(blank + 1);
    return failure(code, printable(std::move(text)));
}

// Connects by way of the directory's descriptor: any path fits, and it is the mount that we mean.
Result<UniqueFd> connect_to(int mount_directory) {
    sockaddr_un address{AF_UNIX, {}};
    const std::string path = "/proc/self/fd/" + std::to_string(mount_directory) + "/attach";
    path.copy(static_cast<char*>(address.sun_path), sizeof(address.sun_path) - 1);

    UniqueFd socket_fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket_fd.valid()) return system_failure("attach");
    setsockopt(socket_fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
    setsockopt(socket_fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
    const auto* where = reinterpret_cast<const sockaddr*>(&address);
    if (connect(socket_fd.get(), where, sizeof(address)) != 0) return system_failure("attach");
    return socket_fd;
}

Result<> send_carrier(int socket_fd, std::string number, int read, int write) {
    const std::array<int, 2> descriptors{read, write};
    const std::size_t size = (read == write ? 1 : 2) * sizeof(int);
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(descriptors))> control{};

    iovec text{number.data(), number.size()};
    msghdr message{};
    message.msg_iov = &text;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(header), descriptors.data(), size);

    const auto sent = uninterrupted([&] { return sendmsg(socket_fd, &message, MSG_NOSIGNAL); });
    if (sent < 0) return system_failure("attach");
    return {};
}

}  // namespace

Result<> attach(int mount_directory, unsigned number, int read, int write) {
    const auto socket_fd = connect_to(mount_directory);
    if (!socket_fd) return tl::unexpected(socket_fd.error());
    auto sent = send_carrier(socket_fd->get(), std::to_string(number), read, write);
    if (!sent) return sent;

    std::array<char, 512> reply{};
    const ssize_t size =
        uninterrupted([&] { return recv(socket_fd->get(), reply.data(), reply.size(), 0); });
    if (size < 0) return system_failure("attach");
    return parse_reply({reply.data(), static_cast<std::size_t>(size)});
}

}  // namespace tlsfs::internal
