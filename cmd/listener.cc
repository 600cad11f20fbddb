// SPDX-License-Identifier: MIT
#include "listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "report.h"

namespace tlsfs::cmd {
namespace {

UniqueFd bind_and_listen(const addrinfo& address) {
    constexpr int kOn = 1;
    constexpr int kOff = 0;
    UniqueFd socket_fd(
        socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
    if (!socket_fd.valid()) return {};
    setsockopt(socket_fd.get(), SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof(kOn));
    if (address.ai_family == AF_INET6) {
        setsockopt(socket_fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &kOff, sizeof(kOff));
    }
    if (bind(socket_fd.get(), address.ai_addr, address.ai_addrlen) != 0) return {};
    if (listen(socket_fd.get(), SOMAXCONN) != 0) return {};
    return socket_fd;
}

// Listens on the first address that lets us.
UniqueFd listen_at(const HostPort& place, int family, std::string& why) {
    const AddressList list = resolve(place, family, AI_PASSIVE, why);
    for (const addrinfo* address = list.get(); address != nullptr; address = address->ai_next) {
        UniqueFd listener = bind_and_listen(*address);
        if (listener.valid()) return listener;
        why = std::strerror(errno);
    }
    return {};
}

bool has_ipv6() {
    return UniqueFd(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)).valid();
}

// A socket that nobody listens on any more. What is no socket is none of ours to remove.
bool is_stale(const std::string& path, const SocketAddress& address) {
    struct stat info{};
    if (lstat(path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) return false;
    const UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return probe.valid() && connect(probe.get(), address.get(), address.size) != 0 &&
           errno == ECONNREFUSED;
}

// With the umask, so that there is no moment at which the socket is open to more than it should be.
int bind_with_mode(int socket_fd, const SocketAddress& address, std::optional<mode_t> mode) {
    if (!mode) return bind(socket_fd, address.get(), address.size);
    const mode_t before = umask(~*mode & 0777U);
    const int result = bind(socket_fd, address.get(), address.size);
    const int cause = errno;
    umask(before);
    errno = cause;
    return result;
}

// Of two that find the same stale socket, the second would remove what the first one has put there
// and not yet listens on. The directory is locked, so that no lock file stays behind.
UniqueFd lock_directory_of(const std::string& path) {
    const auto parent = std::filesystem::path(path).parent_path();
    const char* name = parent.empty() ? "." : parent.c_str();
    UniqueFd directory(open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Whoever can read the directory can lock it, and for ever: so not for long.
    constexpr timespec kPause{0, 50'000'000};
    for (int attempt = 0; directory.valid() && attempt < 40; ++attempt) {
        if (flock(directory.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) break;
        nanosleep(&kPause, nullptr);
    }
    return directory;
}

bool bind_path(int socket_fd, const std::string& path, const SocketAddress& address,
               std::optional<mode_t> mode) {
    if (bind_with_mode(socket_fd, address, mode) == 0) return true;
    if (errno != EADDRINUSE) return false;
    if (!is_stale(path, address)) {
        errno = EADDRINUSE;
        return false;
    }
    return unlink(path.c_str()) == 0 && bind_with_mode(socket_fd, address, mode) == 0;
}

}  // namespace

Listeners listen_on(const HostPort& address) {
    // Without an address: IPv6, which takes IPv4 as well.
    const int any_family = has_ipv6() ? AF_INET6 : AF_INET;
    std::string why;
    UniqueFd listener = listen_at(address, address.host.empty() ? any_family : AF_UNSPEC, why);
    if (!listener.valid()) {
        complain(kExitSystem, "cannot listen on " + address.host + ":" + address.port + ": " + why);
        return {};
    }
    say("listening on " + address_text(local_address(listener.get())));
    Listeners listeners;
    listeners.push_back(std::move(listener));
    return listeners;
}

Listeners passed_listeners() {
    const int count = sd_listen_fds(1);
    if (count <= 0) {
        complain(kExitSystem, "no listening socket was passed (LISTEN_FDS)");
        return {};
    }
    Listeners listeners;
    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + count; ++fd) {
        listeners.emplace_back(fd);
        if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
            complain(kExitSystem, "descriptor " + std::to_string(fd) +
                                      ", which was passed, is no listening stream socket");
            return {};
        }
        // A peer that has gone between poll and accept must not keep the others waiting.
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        say("listening on " + address_text(local_address(fd)));
    }
    return listeners;
}

SocketPath::SocketPath(std::string path) : path_(std::move(path)) {
    struct stat info{};
    if (lstat(path_.c_str(), &info) != 0) {
        path_.clear();
        return;
    }
    device_ = info.st_dev;
    inode_ = info.st_ino;
}

SocketPath::~SocketPath() {
    struct stat info{};
    if (path_.empty() || lstat(path_.c_str(), &info) != 0) return;
    if (info.st_dev == device_ && info.st_ino == inode_) unlink(path_.c_str());
}

std::optional<UnixListener> listen_on_path(const std::string& path, std::optional<mode_t> mode) {
    const auto failed = [&path] {
        complain_of_system("cannot listen on " + path);
        return std::nullopt;
    };
    const auto address = path_address(path);
    if (!address) {
        errno = ENAMETOOLONG;
        return failed();
    }
    UniqueFd socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const UniqueFd lock = lock_directory_of(path);
    if (!socket_fd.valid() || !bind_path(socket_fd.get(), path, *address, mode)) return failed();
    SocketPath name(path);
    if (listen(socket_fd.get(), SOMAXCONN) != 0) return failed();
    say("listening on " + path);
    return UnixListener{std::move(socket_fd), std::move(name)};
}

}  // namespace tlsfs::cmd
