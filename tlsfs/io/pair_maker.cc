// SPDX-License-Identifier: MIT
#include "io/pair_maker.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <array>
#include <utility>

namespace tlsfs {
namespace {

constexpr std::size_t kMaxNets = 8;      // kept; more live on with the sockets that are in them
constexpr int kPairTimeout = 200;        // ms; on the loopback a handshake is over at once
constexpr int kStrangers = 4;            // connections of others that we meet at our listener
constexpr int kReceiveBuffer = 1 << 20;  // bytes; where the namespace has no large ones
constexpr int kSendBuffer = 64 << 10;    // bytes; then, of the program's end

struct Address {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;

    [[nodiscard]] sockaddr* any() { return reinterpret_cast<sockaddr*>(&storage); }
    [[nodiscard]] const sockaddr* any() const {
        return reinterpret_cast<const sockaddr*>(&storage);
    }
    [[nodiscard]] sockaddr_in6& in6() { return reinterpret_cast<sockaddr_in6&>(storage); }
    [[nodiscard]] const sockaddr_in6& in6() const {
        return reinterpret_cast<const sockaddr_in6&>(storage);
    }
    [[nodiscard]] const sockaddr_in& in() const {
        return reinterpret_cast<const sockaddr_in&>(storage);
    }
};

// What is compared. The zone is not: it may have had to be another.
bool same(const Address& a, const Address& b) {
    if (a.storage.ss_family != b.storage.ss_family) return false;
    if (a.storage.ss_family == AF_INET) {
        return a.in().sin_port == b.in().sin_port &&
               a.in().sin_addr.s_addr == b.in().sin_addr.s_addr;
    }
    return a.in6().sin6_port == b.in6().sin6_port &&
           IN6_ARE_ADDR_EQUAL(&a.in6().sin6_addr, &b.in6().sin6_addr);
}

using NameCall = int (*)(int, sockaddr*, socklen_t*);

Result<Address> name_of(const UniqueFd& fd, NameCall call) {
    Address name;
    if (call(fd.get(), name.any(), &name.size) != 0) return system_failure("data socket");
    return name;
}

// Takes what a request said, and nothing more of it than an IP socket address has.
Result<Address> checked(const sockaddr_storage& said) {
    Address address;
    if (said.ss_family == AF_INET) {
        address.size = sizeof(sockaddr_in);
    } else if (said.ss_family == AF_INET6) {
        address.size = sizeof(sockaddr_in6);
    } else {
        return failure(EAFNOSUPPORT, "data socket: no IP address");
    }
    std::memcpy(&address.storage, &said, address.size);
    if (said.ss_family == AF_INET6) address.in6().sin6_flowinfo = 0;
    return address;
}

bool is_free_choice(const Address& address) {
    return address.storage.ss_family == AF_INET && address.in().sin_port == 0 &&
           address.in().sin_addr.s_addr == htonl(INADDR_LOOPBACK);
}

// The zone index of the caller's network namespace, or the loopback's where it cannot be had.
void settle_zone(Address& address, PrivateNet& net) {
    if (address.storage.ss_family != AF_INET6) return;
    if (!IN6_IS_ADDR_LINKLOCAL(&address.in6().sin6_addr)) {
        address.in6().sin6_scope_id = 0;
    } else if (!net.has_zone(address.in6().sin6_scope_id)) {
        address.in6().sin6_scope_id = kLoopbackIndex;
    }
}

template <class Value>
bool set(const UniqueFd& fd, int level, int name, const Value& value) {
    return setsockopt(fd.get(), level, name, &value, sizeof value) == 0;
}

bool set_ip_options(const UniqueFd& fd, const Address& address) {
    if (address.storage.ss_family != AF_INET6) return true;
    const bool mapped = IN6_IS_ADDR_V4MAPPED(&address.in6().sin6_addr);
    return set(fd, IPPROTO_IPV6, IPV6_V6ONLY, mapped ? 0 : 1) &&
           set(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
}

Result<UniqueFd> new_socket(const Address& address) {
    const int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    UniqueFd fd(socket(address.storage.ss_family, type, 0));
    if (!fd.valid() || !set(fd, SOL_SOCKET, SO_REUSEADDR, 1) ||
        !set(fd, IPPROTO_TCP, TCP_NODELAY, 1) || !set_ip_options(fd, address)) {
        return system_failure("data socket");
    }
    return fd;
}

bool wait_for(const UniqueFd& fd, short events) {
    pollfd entry{fd.get(), events, 0};
    return poll(&entry, 1, kPairTimeout) == 1;
}

in_port_t port_of(const Address& address) {
    const bool six = address.storage.ss_family == AF_INET6;
    return ntohs(six ? address.in6().sin6_port : address.in().sin_port);
}

// Without the look at every other socket of that address and port, of which there may be thousands:
// what will connect needs to be the only one with its four numbers, and connect(2) sees to that.
bool bind_unlooked(const UniqueFd& fd, const Address& name) {
    if (!set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON)) {
        return bind(fd.get(), name.any(), name.size) == 0;
    }
    return bind(fd.get(), name.any(), name.size) == 0 &&
           set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP) &&
           set(fd, SOL_SOCKET, SO_REUSEADDR, 1);  // which TCP_REPAIR switches off
}

struct End {
    Address name;
    bool ours;
};

// One attempt in one namespace: one end listens, the other connects.
class Attempt {
 public:
    Attempt(Address local, Address remote, bool free_choice, bool small_buffers)
        : listening_{local, false},
          connecting_{remote, true},
          free_choice_(free_choice),
          small_buffers_(small_buffers) {
        // Listening looks at every socket of that address and port; connecting does not. The
        // smaller port is more likely to be a server's, which has many.
        if (port_of(remote) > port_of(local)) std::swap(listening_, connecting_);
    }

    Result<DataPair> run() {
        if (auto there = listen(); !there) return tl::unexpected(there.error());
        if (auto there = connect(); !there) return tl::unexpected(there.error());
        auto accepted = accept();
        if (!accepted) return tl::unexpected(accepted.error());
        DataPair pair{std::move(*accepted), std::move(connected_)};
        if (connecting_.ours) std::swap(pair.ours, pair.programs);
        if (fcntl(pair.programs.get(), F_SETFL, 0) != 0) return system_failure("data socket");
        return pair;
    }

 private:
    // Those of a listener are inherited by what it accepts.
    [[nodiscard]] bool set_options(const UniqueFd& fd, bool ours) const {
        if (!ours) {
            // The last close is told from a half-close.
            return set(fd, IPPROTO_TCP, TCP_LINGER2, -1) &&
                   (!small_buffers_ || set(fd, SOL_SOCKET, SO_SNDBUF, kSendBuffer));
        }
        // Whatever ends us must not look like the end of the stream.
        return set(fd, SOL_SOCKET, SO_LINGER, linger{1, 0}) &&
               (!small_buffers_ || set(fd, SOL_SOCKET, SO_RCVBUF, kReceiveBuffer));
    }

    Result<UniqueFd> socket_for(const End& end) const {
        auto fd = new_socket(end.name);
        if (fd && !set_options(*fd, end.ours)) return system_failure("data socket");
        return fd;
    }

    Result<> listen() {
        auto fd = socket_for(listening_);
        if (!fd) return tl::unexpected(fd.error());
        listener_ = std::move(*fd);
        Address& name = listening_.name;
        if (bind(listener_.get(), name.any(), name.size) != 0 ||
            ::listen(listener_.get(), kStrangers) != 0) {
            return system_failure("data socket");
        }
        return settle(name, listener_);
    }

    Result<> connect() {
        auto fd = socket_for(connecting_);
        if (!fd) return tl::unexpected(fd.error());
        connected_ = std::move(*fd);
        if (!free_choice_ && !bind_unlooked(connected_, connecting_.name)) {
            return system_failure("data socket");
        }
        const Address& to = listening_.name;
        if (::connect(connected_.get(), to.any(), to.size) != 0) {
            if (errno != EINPROGRESS) return system_failure("data socket");
            if (!wait_for(connected_, POLLOUT)) return failure(ETIMEDOUT, "data socket");
        }
        if (auto mine = settle(connecting_.name, connected_); !mine) return mine;
        return expect(connected_, getpeername, to);
    }

    // A name is what it was to be, or, if that was left open, becomes what it is.
    Result<> settle(Address& name, const UniqueFd& fd) const {
        if (!free_choice_) return expect(fd, getsockname, name);
        auto found = name_of(fd, getsockname);
        if (!found) return tl::unexpected(found.error());
        name = *found;
        return {};
    }

    static Result<> expect(const UniqueFd& fd, NameCall call, const Address& wanted) {
        const auto found = name_of(fd, call);
        if (!found) return tl::unexpected(found.error());
        if (same(*found, wanted)) return {};
        return failure(EINVAL, "data socket: not a TCP connection's addresses");
    }

    // No two connections of a namespace have the same four numbers, and the one that we made is
    // established: so what has them the other way round is its other end.
    Result<UniqueFd> accept() {
        for (int tried = 0; tried <= kStrangers; ++tried) {
            UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
            if (!fd.valid() && errno == EAGAIN && wait_for(listener_, POLLIN)) continue;
            if (!fd.valid()) return system_failure("data socket");
            if (expect(fd, getpeername, connecting_.name) &&
                expect(fd, getsockname, listening_.name)) {
                return fd;
            }
        }
        return failure(EADDRINUSE, "data socket: others connect to this address");
    }

    End listening_, connecting_;
    const bool free_choice_, small_buffers_;
    UniqueFd listener_, connected_;
};

bool worth_another_net(int code) {
    return code == EADDRINUSE || code == EADDRNOTAVAIL || code == ETIMEDOUT || code == EAGAIN ||
           code == ECONNREFUSED || code == ECONNRESET || code == ENOTCONN;
}

}  // namespace

Result<PairMaker> PairMaker::start() {
    auto first = PrivateNet::leave_for_first();
    if (!first) return tl::unexpected(first.error());
    return PairMaker(std::move(*first));
}

Result<> PairMaker::enter(std::size_t net) {
    if (net == current_) return {};
    if (auto entered = nets_[net].enter(); !entered) return entered;
    current_ = net;
    return {};
}

Result<> PairMaker::enter_new() {
    auto another = PrivateNet::leave_for_another();
    if (!another) {
        (void)nets_[current_].enter();  // it may have failed after it had left
        return tl::unexpected(another.error());
    }
    if (nets_.size() < kMaxNets) {
        current_ = nets_.size();
        nets_.push_back(std::move(*another));
    } else {
        current_ = oldest_;
        nets_[oldest_] = std::move(*another);
        oldest_ = (oldest_ + 1) % kMaxNets;
    }
    return {};
}

Result<DataPair> PairMaker::make(const sockaddr_storage& said_local,
                                 const sockaddr_storage& said_remote) {
    const auto local = checked(said_local), remote = checked(said_remote);
    if (!local) return tl::unexpected(local.error());
    if (!remote) return tl::unexpected(remote.error());
    const bool free_choice = is_free_choice(*local) && is_free_choice(*remote);
    if (local->storage.ss_family != remote->storage.ss_family) {
        return failure(EAFNOSUPPORT, "data socket: addresses of two families");
    }
    if (same(*local, *remote) && !free_choice) {
        return failure(EINVAL, "data socket: both ends have one address");
    }
    const auto attempt = [&] {
        PrivateNet& net = nets_[current_];
        Address here = *local, there = *remote;
        settle_zone(here, net);
        settle_zone(there, net);
        return Attempt(here, there, free_choice, !net.has_large_buffers()).run();
    };
    auto made = attempt();
    const std::size_t first = current_;
    for (std::size_t i = 1; i < nets_.size() && !made && worth_another_net(made.error().code);
         ++i) {
        if (!enter((first + i) % nets_.size())) continue;
        made = attempt();
    }
    if (made || !worth_another_net(made.error().code)) return made;
    if (auto entered = enter_new(); !entered) return tl::unexpected(entered.error());
    return attempt();
}

}  // namespace tlsfs
