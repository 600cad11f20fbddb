// SPDX-License-Identifier: MIT
#include "io/byte_stream.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/major.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <termios.h>

#include <array>

namespace tlsfs {
namespace {

// poll(2) promises room for PIPE_BUF bytes in a pipe, and a terminal's buffers grow in steps of
// 256.
constexpr std::size_t kSharedPipeStep = 4096;
constexpr std::size_t kSharedTerminalStep = 256;

struct FileKind {
    mode_t mode;
    dev_t device;      // of the file system it is on
    dev_t represents;  // of a device file
};

Result<FileKind> file_kind(int fd) {
    struct statx info{};
    // DONT_SYNC: were this a file of our own mount, fstat() would ask ourselves, and perhaps for
    // ever.
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &info) != 0) {
        return system_failure("descriptor");
    }
    return FileKind{info.stx_mode, makedev(info.stx_dev_major, info.stx_dev_minor),
                    makedev(info.stx_rdev_major, info.stx_rdev_minor)};
}

template <class T>
T socket_option(int fd, int name, T otherwise) {
    T value{};
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : otherwise;
}

Result<> check_socket(int fd) {
    if (socket_option(fd, SO_TYPE, 0) != SOCK_STREAM) {
        return failure(EOPNOTSUPP, "the descriptor is not a stream socket");
    }
    if (socket_option(fd, SO_ACCEPTCONN, 1) != 0) {
        return failure(EOPNOTSUPP, "the descriptor is a listening socket");
    }
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) {
        return failure(EOPNOTSUPP, "the descriptor is not connected");
    }
    return {};
}

Result<> check_access(int fd, int access) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return system_failure("descriptor");
    const int mode = flags & O_ACCMODE;
    if (mode == access || mode == O_RDWR) return {};
    return failure(EOPNOTSUPP, fmt::format("the descriptor is not open for {}",
                                           access == O_RDONLY ? "reading" : "writing"));
}

bool is_terminal(int fd) {
    termios ignored{};
    return tcgetattr(fd, &ignored) == 0;
}

bool poll_ready(int fd, short events) {
    pollfd entry{fd, events, 0};
    return poll(&entry, 1, 0) == 1;
}

Transfer failed(int error) {
    return {Transfer::Outcome::failed, 0, error};
}

Transfer judge(ssize_t count) {
    if (count > 0) return {Transfer::Outcome::bytes, static_cast<std::size_t>(count), 0};
    if (count == 0) return {Transfer::Outcome::end_of_file, 0, 0};
    if (errno == EAGAIN || errno == EINTR) return {};
    return failed(errno);
}

std::string address_text(const sockaddr_storage& address, socklen_t size, bool with_port) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.ss_family == AF_INET) {
        const auto& in = reinterpret_cast<const sockaddr_in&>(address);
        inet_ntop(AF_INET, &in.sin_addr, text.data(), text.size());
        return with_port ? fmt::format("{}:{}", text.data(), ntohs(in.sin_port)) : text.data();
    }
    if (address.ss_family == AF_INET6) {
        const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
        if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr)) {
            inet_ntop(AF_INET, &in.sin6_addr.s6_addr[12], text.data(), text.size());
        } else {
            inet_ntop(AF_INET6, &in.sin6_addr, text.data(), text.size());
        }
        return with_port ? fmt::format("[{}]:{}", text.data(), ntohs(in.sin6_port)) : text.data();
    }
    if (address.ss_family == AF_UNIX && with_port) {
        const auto& un = reinterpret_cast<const sockaddr_un&>(address);
        const std::size_t length = size - offsetof(sockaddr_un, sun_path);
        if (size <= offsetof(sockaddr_un, sun_path)) return {};
        std::string path(un.sun_path, std::min(length, sizeof un.sun_path));
        if (path.front() == '\0') return "@" + path.substr(1);
        return path.c_str();
    }
    return {};
}

using NameCall = int (*)(int, sockaddr*, socklen_t*);

std::string socket_name(int fd, NameCall call, bool with_port) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (call(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
    return address_text(address, size, with_port);
}

// Nagle's algorithm would hold back a request behind the handshake's last message until the peer's
// delayed acknowledgement, 40 ms later. What is no TCP socket has no such option.
void send_at_once(int fd) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

Result<ByteStream::End> ByteStream::open_end(UniqueFd& fd, int access, dev_t own_mount) {
    const auto kind = file_kind(fd.get());
    if (!kind) return tl::unexpected(kind.error());
    if (kind->device == own_mount) {
        return failure(ELOOP, "the descriptor is a file of this same mount");
    }
    if (S_ISSOCK(kind->mode)) {
        if (const auto fit = check_socket(fd.get()); !fit) return tl::unexpected(fit.error());
        send_at_once(fd.get());
        return End{UniqueFd(fd.release()), Kind::socket};
    }
    const bool terminal = S_ISCHR(kind->mode) && is_terminal(fd.get());
    if (!S_ISFIFO(kind->mode) && !terminal) {
        return failure(EOPNOTSUPP, "the descriptor is no connected stream");
    }
    if (access == O_RDWR) {
        for (const int way : {O_RDONLY, O_WRONLY}) {
            if (const auto fit = check_access(fd.get(), way); !fit)
                return tl::unexpected(fit.error());
        }
    } else if (const auto fit = check_access(fd.get(), access); !fit) {
        return tl::unexpected(fit.error());
    }
    // O_NONBLOCK belongs to the open file description, which is the caller's too. A second one for
    // the same pipe or terminal is ours alone. The auxiliary terminals (/dev/ptmx, /dev/tty) would
    // open as something else.
    if (!terminal || major(kind->represents) != TTYAUX_MAJOR) {
        const auto path = fmt::format("/proc/self/fd/{}", fd.get());
        UniqueFd own(open(path.c_str(), access | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
        if (own.valid()) {
            fd.reset();
            return End{std::move(own), Kind::nonblocking};
        }
    }
    return End{UniqueFd(fd.release()), Kind::shared};
}

Result<ByteStream> ByteStream::adopt(UniqueFd& read, UniqueFd& write, dev_t own_mount) {
    ByteStream stream;
    const bool both = !write.valid();
    auto first = open_end(read, both ? O_RDWR : O_RDONLY, own_mount);
    if (!first) return tl::unexpected(first.error());
    stream.read_ = std::move(*first);
    if (both) return stream;
    auto second = open_end(write, O_WRONLY, own_mount);
    if (!second) return tl::unexpected(second.error());
    stream.write_ = std::move(*second);
    stream.pair_ = true;
    return stream;
}

ByteStream ByteStream::own_socket(UniqueFd socket) {
    ByteStream stream;
    stream.read_ = End{std::move(socket), Kind::socket};
    return stream;
}

// SO_LINGER belongs to the caller, and makes the last close(2) wait as long as the caller likes.
void ByteStream::forbid_lingering() const {
    const ::linger none{0, 0};
    for (const End* end : {&read_, &write_}) {
        if (!end->fd.valid() || end->kind != Kind::socket) continue;
        setsockopt(end->fd.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
}

Transfer ByteStream::read(std::span<std::byte> into) {
    const int fd = read_.fd.get();
    if (read_.kind == Kind::socket) {
        return judge(recv(fd, into.data(), into.size(), MSG_DONTWAIT));
    }
    if (read_.kind == Kind::shared && !poll_ready(fd, POLLIN)) return {};
    const ssize_t count = ::read(fd, into.data(), into.size());
    // A terminal whose other side is gone answers EIO: the end of the stream, nothing worse.
    if (count < 0 && errno == EIO) return {Transfer::Outcome::end_of_file, 0, 0};
    return judge(count);
}

Transfer ByteStream::write(std::span<const std::byte> from, bool more) {
    const End& end = write_end();
    const int fd = end.fd.get();
    if (end.kind == Kind::socket) {
        const int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0);
        return judge(send(fd, from.data(), from.size(), flags));
    }
    if (end.kind == Kind::nonblocking) return judge(::write(fd, from.data(), from.size()));
    if (!poll_ready(fd, POLLOUT)) return {};
    const std::size_t step = isatty(fd) != 0 ? kSharedTerminalStep : kSharedPipeStep;
    return judge(::write(fd, from.data(), std::min(from.size(), step)));
}

bool ByteStream::all_delivered() const {
    tcp_info info{};
    socklen_t size = sizeof info;
    if (getsockopt(write_fd(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return true;  // no TCP
    // A connection that was reset counts what it had not sent for ever.
    if (info.tcpi_state == TCP_CLOSE) return true;
    int pending = 0;
    return info.tcpi_unacked == 0 && (ioctl(write_fd(), SIOCOUTQ, &pending) != 0 || pending == 0);
}

bool ByteStream::all_sent() const {
    int unsent = 0;
    return ioctl(write_fd(), SIOCOUTQNSD, &unsent) != 0 || unsent == 0;
}

bool ByteStream::discard_input() {
    constexpr int kRounds = 64;  // a peer that never stops talking is not waited for
    std::array<std::byte, 16384> scrap;
    for (int i = 0; i < kRounds; ++i) {
        const auto outcome = read(scrap).outcome;
        if (outcome != Transfer::Outcome::bytes) return outcome != Transfer::Outcome::would_block;
    }
    return false;
}

void ByteStream::end_writing() {
    if (write_end().kind == Kind::socket) {
        shutdown(write_fd(), SHUT_WR);
    } else if (!one_fd()) {
        write_.fd.reset();
    }
}

void ByteStream::reset() {
    const ::linger at_once{1, 0};
    for (End* end : {&read_, &write_}) {
        if (!end->fd.valid()) continue;
        if (end->kind == Kind::socket) {
            setsockopt(end->fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        }
        end->fd.reset();
    }
}

std::string ByteStream::local() const {
    return socket_name(read_fd(), getsockname, true);
}
std::string ByteStream::remote() const {
    return socket_name(read_fd(), getpeername, true);
}
std::optional<ByteStream::Addresses> ByteStream::tcp_addresses() const {
    Addresses both{};
    socklen_t size = sizeof both.local;
    if (getsockname(read_fd(), reinterpret_cast<sockaddr*>(&both.local), &size) != 0)
        return std::nullopt;
    size = sizeof both.remote;
    if (getpeername(read_fd(), reinterpret_cast<sockaddr*>(&both.remote), &size) != 0)
        return std::nullopt;
    const auto family = both.remote.ss_family;
    if (family != AF_INET && family != AF_INET6) return std::nullopt;
    return both;
}
std::string ByteStream::remote_ip() const {
    return socket_name(read_fd(), getpeername, false);
}

}  // namespace tlsfs
