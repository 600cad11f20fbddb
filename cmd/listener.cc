// SPDX-License-Identifier: MIT
#include "listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "report.h"

namespace tlsfs::cmd {
namespace {

constexpr int kShortOfResources = 1000;  // milliseconds until accept is tried again

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

std::string address_text(const sockaddr_storage& address, socklen_t size) {
    if (address.ss_family == AF_UNIX) return "a local socket";
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    const auto* where = reinterpret_cast<const sockaddr*>(&address);
    if (getnameinfo(where, size, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "?";
    }
    const std::string name = host.data();
    const bool bracketed = name.find(':') != std::string::npos;
    return (bracketed ? "[" + name + "]" : name) + ":" + port.data();
}

std::string local_address(int socket_fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    getsockname(socket_fd, reinterpret_cast<sockaddr*>(&address), &size);
    return address_text(address, size);
}

// Nothing for a name or port that is not known; `why` says it.
AddressList resolve(const ListenAddress& place, int family, std::string& why) {
    addrinfo hints{};
    hints.ai_flags = AI_PASSIVE;
    hints.ai_family = family;
    hints.ai_socktype = SOCK_STREAM;
    const char* host = place.host.empty() ? nullptr : place.host.c_str();
    addrinfo* list = nullptr;
    const int error = getaddrinfo(host, place.port.c_str(), &hints, &list);
    if (error == 0) return {list, freeaddrinfo};
    why = gai_strerror(error);
    return {nullptr, freeaddrinfo};
}

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
UniqueFd listen_at(const ListenAddress& place, int family, std::string& why) {
    const AddressList list = resolve(place, family, why);
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

// SIGCHLD, SIGTERM and SIGINT as something to poll, in place of interruptions.
class Signals {
 public:
    Signals() {
        sigset_t wanted{};
        sigemptyset(&wanted);
        sigaddset(&wanted, SIGCHLD);
        sigaddset(&wanted, SIGTERM);
        sigaddset(&wanted, SIGINT);
        sigprocmask(SIG_BLOCK, &wanted, &before_);
        // An inherited SIG_IGN would reap the children behind our back.
        std::signal(SIGCHLD, SIG_DFL);
        fd_ = UniqueFd(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
    }

    [[nodiscard]] int fd() const { return fd_.get(); }

    // Takes what has come; was it a signal to end?
    [[nodiscard]] bool take() const {
        signalfd_siginfo signal{};
        bool end = false;
        while (read(fd_.get(), &signal, sizeof(signal)) == sizeof(signal)) {
            if (signal.ssi_signo != SIGCHLD) end = true;
        }
        return end;
    }

    // For a child: signals as the parent found them.
    void restore() const { sigprocmask(SIG_SETMASK, &before_, nullptr); }

 private:
    sigset_t before_{};
    UniqueFd fd_;
};

class AcceptLoop {
 public:
    AcceptLoop(Listeners listeners, std::size_t max_children, const ServeConnection& serve)
        : listeners_(std::move(listeners)),
          max_children_(max_children),
          serve_(serve),
          ready_(listeners_.size() + 1) {}

    int run() {
        if (signals_.fd() < 0) return complain_of_system("signalfd");
        for (;;) {
            look_at_listeners();
            if (poll(ready_.data(), ready_.size(), pause_) < 0 && errno != EINTR) {
                return complain_of_system("poll");
            }
            pause_ = -1;
            if (signals_.take()) return 0;
            reap();
            for (const pollfd& listener : std::span(ready_).subspan(1)) {
                if ((listener.revents & POLLIN) != 0 && !is_full()) accept_one(listener.fd);
            }
        }
    }

 private:
    [[nodiscard]] bool is_full() const { return children_ >= max_children_; }

    // poll passes over a negative descriptor.
    void look_at_listeners() {
        ready_[0] = {signals_.fd(), POLLIN, 0};
        const bool none = is_full() || pause_ >= 0;
        std::ranges::transform(listeners_, ready_.begin() + 1, [none](const UniqueFd& listener) {
            return pollfd{none ? -1 : listener.get(), POLLIN, 0};
        });
    }

    void reap() {
        while (waitpid(-1, nullptr, WNOHANG) > 0) --children_;
    }

    void accept_one(int listener) {
        sockaddr_storage address{};
        socklen_t size = sizeof(address);
        auto* where = reinterpret_cast<sockaddr*>(&address);
        UniqueFd socket_fd(accept4(listener, where, &size, SOCK_CLOEXEC));
        if (!socket_fd.valid()) return accept_failed();
        start_child(std::move(socket_fd), address_text(address, size));
    }

    void accept_failed() {
        if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
        complain_of_system("accept");
        pause_ = kShortOfResources;
    }

    void start_child(UniqueFd socket_fd, const std::string& peer) {
        const pid_t child = fork();
        if (child < 0) {
            complain_of_system("fork");
            pause_ = kShortOfResources;
            return;
        }
        if (child > 0) {
            ++children_;
            return;
        }
        listeners_.clear();  // the handshake may outlive the parent, and its port must be free then
        signals_.restore();
        _exit(serve_(std::move(socket_fd), peer));
    }

    Listeners listeners_;
    std::size_t max_children_;
    const ServeConnection& serve_;
    std::vector<pollfd> ready_;  // the signals first, then the listeners
    Signals signals_;
    std::size_t children_ = 0;
    int pause_ = -1;  // milliseconds; while it lasts nothing is accepted
};

}  // namespace

std::optional<ListenAddress> parse_listen_address(const std::string& text) {
    const auto colon = text.rfind(':');
    if (colon == std::string::npos || colon + 1 == text.size()) return std::nullopt;
    std::string host = text.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string::npos) {
        return std::nullopt;
    }
    return ListenAddress{host, text.substr(colon + 1)};
}

Listeners listen_on(const ListenAddress& address) {
    // Without an address: IPv6, which takes IPv4 as well.
    const int any_family = has_ipv6() ? AF_INET6 : AF_INET;
    std::string why;
    UniqueFd listener = listen_at(address, address.host.empty() ? any_family : AF_UNSPEC, why);
    if (!listener.valid()) {
        complain(kExitSystem, "cannot listen on " + address.host + ":" + address.port + ": " + why);
        return {};
    }
    say("listening on " + local_address(listener.get()));
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
        say("listening on " + local_address(fd));
    }
    return listeners;
}

int accept_connections(Listeners listeners, std::size_t max_children,
                       const ServeConnection& serve) {
    return AcceptLoop(std::move(listeners), max_children, serve).run();
}

}  // namespace tlsfs::cmd
