// SPDX-License-Identifier: MIT
#include "io/dial.h"

#include <fmt/format.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <system_error>

namespace tlsfs {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kNextAttempt{250};  // RFC 8305 section 5: Connection Attempt Delay
constexpr milliseconds kBusyRetry{20};     // a Unix listener whose backlog is full

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// This thread alone takes on the caller's ids. The raw calls, because glibc's change every thread.
class AssumedIdentity {
 public:
    static Result<AssumedIdentity> take(const std::optional<Identity>& identity) {
        AssumedIdentity assumed;
        if (!identity) return assumed;
        assumed.groups_.resize(static_cast<std::size_t>(std::max(0, getgroups(0, nullptr))));
        if (getgroups(static_cast<int>(assumed.groups_.size()), assumed.groups_.data()) < 0) {
            return system_failure("getgroups");
        }
        assumed.taken_ = true;  // from here on the destructor undoes
        if (syscall(SYS_setgroups, identity->groups.size(), identity->groups.data()) != 0 ||
            syscall(SYS_setresgid, -1, identity->gid, -1) != 0 ||
            syscall(SYS_setresuid, -1, identity->uid, -1) != 0) {
            return system_failure("taking on the caller's identity");
        }
        return assumed;
    }
    AssumedIdentity(AssumedIdentity&& other) noexcept
        : taken_(std::exchange(other.taken_, false)), groups_(std::move(other.groups_)) {}
    AssumedIdentity(const AssumedIdentity&) = delete;
    AssumedIdentity& operator=(const AssumedIdentity&) = delete;
    AssumedIdentity& operator=(AssumedIdentity&&) = delete;
    ~AssumedIdentity() {
        if (!taken_) return;
        uid_t real_uid = 0, effective_uid = 0, saved_uid = 0;
        gid_t real_gid = 0, effective_gid = 0, saved_gid = 0;
        getresuid(&real_uid, &effective_uid, &saved_uid);
        getresgid(&real_gid, &effective_gid, &saved_gid);
        const bool restored = syscall(SYS_setresuid, -1, saved_uid, -1) == 0 &&
                              syscall(SYS_setresgid, -1, saved_gid, -1) == 0 &&
                              syscall(SYS_setgroups, groups_.size(), groups_.data()) == 0;
        // A pooled thread that is somebody else must never serve the next caller.
        if (!restored) std::terminate();
    }

 private:
    AssumedIdentity() = default;
    bool taken_ = false;
    std::vector<gid_t> groups_;
};

Result<AddressList> resolve(const command::Dial& target) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG;
    addrinfo* list = nullptr;
    int status = getaddrinfo(target.host.c_str(), target.port.c_str(), &hints, &list);
    if (status == EAI_NONAME || status == EAI_ADDRFAMILY || status == EAI_NODATA) {
        // A machine with nothing but loopback has no "configured" address; try without the hint.
        hints.ai_flags = 0;
        status = getaddrinfo(target.host.c_str(), target.port.c_str(), &hints, &list);
    }
    if (status == 0) return AddressList(list, &freeaddrinfo);
    const int code = status == EAI_SYSTEM ? errno : status == EAI_SERVICE ? EINVAL : EHOSTUNREACH;
    return failure(code,
                   fmt::format("dial {}:{}: {}", target.host, target.port,
                               status == EAI_SYSTEM ? std::strerror(code) : gai_strerror(status)));
}

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

class Attempts {
 public:
    Attempts(const command::Dial& target, Clock::time_point deadline, const Cancellation& cancel)
        : target_(target), deadline_(deadline), cancel_(cancel) {}

    Result<UniqueFd> run(const std::vector<const addrinfo*>& addresses) {
        auto next = addresses.begin();
        auto start_next = Clock::now();
        while (next != addresses.end() || !pending_.empty()) {
            if (next != addresses.end() && (pending_.empty() || Clock::now() >= start_next)) {
                start(**next++);
                start_next = Clock::now() + kNextAttempt;
                if (connected_.valid()) return std::move(connected_);
                continue;
            }
            const auto until =
                next == addresses.end() ? deadline_ : std::min(deadline_, start_next);
            if (const auto waited = wait(until); !waited) return tl::unexpected(waited.error());
            if (connected_.valid()) return std::move(connected_);
            if (Clock::now() >= deadline_) break;
        }
        if (Clock::now() >= deadline_) last_error_ = ETIMEDOUT;
        return failure(last_error_, fmt::format("dial {}:{}: {}", target_.host, target_.port,
                                                std::strerror(last_error_)));
    }

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
            last_error_ = errno;
        }
    }

    // Waits for any attempt to end, one way or the other.
    Result<> wait(Clock::time_point until) {
        std::vector<pollfd> entries{{cancel_.fd(), POLLIN, 0}};
        for (const UniqueFd& fd : pending_) entries.push_back({fd.get(), POLLOUT, 0});
        const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
        poll(entries.data(), entries.size(), static_cast<int>(std::max<std::int64_t>(0, left)));
        if (entries[0].revents != 0) return failure(ECANCELED, "dial was broken off");
        for (std::size_t i = entries.size() - 1; i > 0; --i) {
            if (entries[i].revents != 0)
                finish(pending_.begin() + static_cast<std::ptrdiff_t>(i - 1));
        }
        return {};
    }

    void finish(std::vector<UniqueFd>::iterator attempt) {
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(attempt->get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
        if (error == 0) {
            connected_ = std::move(*attempt);
        } else {
            last_error_ = error;
        }
        pending_.erase(attempt);
    }

    const command::Dial& target_;
    Clock::time_point deadline_;
    const Cancellation& cancel_;
    std::vector<UniqueFd> pending_;
    UniqueFd connected_;
    int last_error_ = EHOSTUNREACH;
};

Result<UniqueFd> dial_tcp(const command::Dial& target, Clock::time_point deadline,
                          const Cancellation& cancel) {
    const auto list = resolve(target);
    if (!list) return tl::unexpected(list.error());
    return Attempts(target, deadline, cancel).run(interleave(list->get()));
}

Result<UniqueFd> dial_unix(const std::string& path, Clock::time_point deadline,
                           const Cancellation& cancel) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return failure(ENAMETOOLONG, fmt::format("dial {}: the path is too long", path));
    }
    std::memcpy(address.sun_path, path.c_str(), path.size());
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) return system_failure("socket");
    while (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        if (errno != EAGAIN) return system_failure("dial " + path);
        pollfd entry{cancel.fd(), POLLIN, 0};
        if (poll(&entry, 1, static_cast<int>(kBusyRetry.count())) == 1) {
            return failure(ECANCELED, "dial was broken off");
        }
        if (Clock::now() >= deadline) return failure(ETIMEDOUT, "dial " + path + ": timed out");
    }
    return fd;
}

}  // namespace

Cancellation::Cancellation() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!event_.valid()) throw std::system_error(errno, std::generic_category(), "eventfd");
}

void Cancellation::cancel() {
    eventfd_write(event_.get(), 1);
}

Result<UniqueFd> dial(const command::Dial& target, const std::optional<Identity>& identity,
                      Clock::time_point deadline, const Cancellation& cancellation) {
    const auto assumed = AssumedIdentity::take(identity);
    if (!assumed) return tl::unexpected(assumed.error());
    if (!target.path.empty()) return dial_unix(target.path, deadline, cancellation);
    return dial_tcp(target, deadline, cancellation);
}

}  // namespace tlsfs
