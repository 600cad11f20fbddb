// SPDX-License-Identifier: MIT
#include "listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <utility>

#include "report.h"

namespace tlsfs::cmd {
namespace {

constexpr int kShortOfResources = 1000;  // milliseconds until accept is tried again

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

std::string address_text(const sockaddr_storage& address, socklen_t size) {
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
    AcceptLoop(UniqueFd listener, std::size_t max_children, const ServeConnection& serve)
        : listener_(std::move(listener)), max_children_(max_children), serve_(serve) {}

    int run() {
        if (signals_.fd() < 0) return complain_of_system("signalfd");
        for (;;) {
            std::array<pollfd, 2> ready{pollfd{signals_.fd(), POLLIN, 0},
                                        pollfd{listening_fd(), POLLIN, 0}};
            if (poll(ready.data(), ready.size(), pause_) < 0 && errno != EINTR) {
                return complain_of_system("poll");
            }
            pause_ = -1;
            if (signals_.take()) return 0;
            reap();
            if ((ready[1].revents & POLLIN) != 0) accept_one();
        }
    }

 private:
    // poll passes over a negative descriptor.
    [[nodiscard]] int listening_fd() const {
        const bool full = children_ >= max_children_;
        return full || pause_ >= 0 ? -1 : listener_.get();
    }

    void reap() {
        while (waitpid(-1, nullptr, WNOHANG) > 0) --children_;
    }

    void accept_one() {
        sockaddr_storage address{};
        socklen_t size = sizeof(address);
        auto* where = reinterpret_cast<sockaddr*>(&address);
        UniqueFd socket_fd(accept4(listener_.get(), where, &size, SOCK_CLOEXEC));
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
        listener_.reset();  // the handshake may outlive the parent, and its port must be free then
        signals_.restore();
        _exit(serve_(std::move(socket_fd), peer));
    }

    UniqueFd listener_;
    std::size_t max_children_;
    const ServeConnection& serve_;
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

UniqueFd listen_on(const ListenAddress& address) {
    // Without an address: IPv6, which takes IPv4 as well.
    const int any_family = has_ipv6() ? AF_INET6 : AF_INET;
    std::string why;
    UniqueFd listener = listen_at(address, address.host.empty() ? any_family : AF_UNSPEC, why);
    if (!listener.valid()) {
        complain(kExitSystem, "cannot listen on " + address.host + ":" + address.port + ": " + why);
        return {};
    }
    say("listening on " + local_address(listener.get()));
    return listener;
}

int accept_connections(UniqueFd listener, std::size_t max_children, const ServeConnection& serve) {
    return AcceptLoop(std::move(listener), max_children, serve).run();
}

}  // namespace tlsfs::cmd
