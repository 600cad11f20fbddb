// SPDX-License-Identifier: MIT
#include "dial.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <vector>

#include "lookup.h"

namespace tlsfs::internal {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kNextAttempt{250};      // RFC 8305 section 5: Connection Attempt Delay
constexpr timespec kBusyRetry{0, 20'000'000};  // a Unix listener whose queue is full

// The addresses in the resolver's order, the families taking turns (RFC 8305 section 4).
std::vector<const addrinfo*> interleave(const addrinfo* list) {
    std::vector<const addrinfo*> first, second, mixed;
    for (const addrinfo* a = list; a != nullptr; a = a->ai_next) {
        (a->ai_family == list->ai_family ? first : second).push_back(a);
    }
    for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
        if (i < first.size()) mixed.push_back(first[i]);
        if (i < second.size()) mixed.push_back(second[i]);
    }
    return mixed;
}

// Connection attempts side by side: the next address is tried when the one before has failed, or
// after a while.
class Attempts {
 public:
    explicit Attempts(Clock::time_point deadline) : deadline_(deadline) {}

    // The first socket that is connected; else an invalid one, and error() says why.
    UniqueFd run(const std::vector<const addrinfo*>& addresses) {
        auto next = addresses.begin();
        auto start_next = Clock::now();
        while (next != addresses.end() || !pending_.empty()) {
            const bool more = next != addresses.end();
            if (more && (pending_.empty() || Clock::now() >= start_next)) {
                start(**next++);
                start_next = Clock::now() + kNextAttempt;
            } else {
                wait(more ? std::min(deadline_, start_next) : deadline_);
            }
            if (connected_.valid()) return std::move(connected_);
            if (Clock::now() >= deadline_) {
                error_ = ETIMEDOUT;
                break;
            }
        }
        return {};
    }

    [[nodiscard]] int error() const { return error_; }

 private:
    void start(const addrinfo& address) {
        UniqueFd fd(socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        const bool connected =
            fd.valid() && connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0;
        if (connected) {
            connected_ = std::move(fd);
        } else if (fd.valid() && errno == EINPROGRESS) {
            pending_.push_back(std::move(fd));
        } else {
            error_ = errno;
        }
    }

    // Waits for any attempt to end, one way or the other.
    void wait(Clock::time_point until) {
        std::vector<pollfd> entries;
        entries.reserve(pending_.size());
        for (const UniqueFd& fd : pending_) entries.push_back({fd.get(), POLLOUT, 0});
        const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
        const auto limit = std::clamp<milliseconds::rep>(left, 0, 3'600'000);
        if (poll(entries.data(), entries.size(), static_cast<int>(limit)) <= 0) return;
        for (std::size_t i = entries.size(); i-- > 0;) {
            if (entries[i].revents != 0) finish(pending_.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }

    void finish(std::vector<UniqueFd>::iterator attempt) {
        int error = 0;
        socklen_t size = sizeof(error);
        if (getsockopt(attempt->get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
        if (error == 0) {
            connected_ = std::move(*attempt);
        } else {
            error_ = error;
        }
        pending_.erase(attempt);
    }

    Clock::time_point deadline_;
    std::vector<UniqueFd> pending_;
    UniqueFd connected_;
    int error_ = EHOSTUNREACH;
};

Result<UniqueFd> made_blocking(UniqueFd fd) {
    const int flags = fcntl(fd.get(), F_GETFL);
    if (flags < 0 || fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) {
        return system_failure("fcntl");
    }
    return fd;
}

Result<UniqueFd> dial_tcp(const HostPort& place, Clock::time_point deadline) {
    const std::string what = "dial " + place.host + ":" + place.port + ": ";
    const auto list = look_up(place, deadline);
    if (!list) return failure(list.error().code, what + list.error().text);
    Attempts attempts(deadline);
    UniqueFd fd = attempts.run(interleave(list->get()));
    if (!fd.valid()) return failure(attempts.error(), what + std::strerror(attempts.error()));
    return made_blocking(std::move(fd));
}

Result<UniqueFd> dial_unix(const std::string& path, Clock::time_point deadline) {
    sockaddr_un address{AF_UNIX, {}};
    if (path.size() >= sizeof(address.sun_path)) {
        return failure(ENAMETOOLONG, "dial " + path + ": the path is too long");
    }
    path.copy(static_cast<char*>(address.sun_path), path.size());
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) return system_failure("socket");
    const auto* where = reinterpret_cast<const sockaddr*>(&address);
    while (connect(fd.get(), where, sizeof(address)) != 0) {
        if (errno != EAGAIN) return system_failure("dial " + path);
        if (Clock::now() >= deadline) return failure(ETIMEDOUT, "dial " + path + ": timed out");
        nanosleep(&kBusyRetry, nullptr);
    }
    return made_blocking(std::move(fd));
}

}  // namespace

Result<DialTarget> parse_dial_target(const std::string& text) {
    if (text.starts_with('/')) return DialTarget{{}, text};
    const auto address = parse_host_port(text);
    if (!address || address->host.empty()) {
        return failure(EINVAL, "'" + text + "' is neither HOST:PORT nor /path");
    }
    if (!is_port(address->port)) return failure(EINVAL, "'" + address->port + "' is no port");
    return DialTarget{*address, {}};
}

Result<UniqueFd> dial(const DialTarget& target, Clock::time_point deadline) {
    if (!target.path.empty()) return dial_unix(target.path, deadline);
    return dial_tcp(target.address, deadline);
}

}  // namespace tlsfs::internal
