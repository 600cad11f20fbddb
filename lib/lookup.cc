// SPDX-License-Identifier: MIT
// A DNS lookup cannot be cancelled. It runs in a thread of its own, which is abandoned at the
// deadline and ends by itself.
#include "lookup.h"

#include <condition_variable>
#include <csignal>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

namespace tlsfs::internal {
namespace {

struct Outcome {
    int status = EAI_AGAIN;
    int error = 0;  // errno, with EAI_SYSTEM
    AddressList list{nullptr, freeaddrinfo};
};

Outcome ask_resolver(const HostPort& place, int flags) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    addrinfo* list = nullptr;
    const int status = getaddrinfo(place.host.c_str(), place.port.c_str(), &hints, &list);
    return {status, errno, AddressList(status == 0 ? list : nullptr, freeaddrinfo)};
}

Outcome look_up_name(const HostPort& place) {
    Outcome found = ask_resolver(place, AI_ADDRCONFIG);
    const bool none =
        found.status == EAI_NONAME || found.status == EAI_ADDRFAMILY || found.status == EAI_NODATA;
    // A machine with nothing but loopback has no "configured" address; try without the hint.
    return none ? ask_resolver(place, 0) : std::move(found);
}

// What the thread and its caller share; the last of them frees it.
struct Lookup {
    std::mutex lock;
    std::condition_variable done;
    std::optional<Outcome> outcome;  // guarded by lock
};

// The caller's signal handlers are not run in our thread.
class SignalsBlocked {
 public:
    SignalsBlocked() {
        sigset_t all{};
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
    sigset_t before_{};
};

// False if there is no thread left for it.
bool start(const std::shared_ptr<Lookup>& lookup, const HostPort& place) {
    const SignalsBlocked blocked;
    try {
        std::thread([lookup, place] {
            Outcome outcome = look_up_name(place);
            const std::scoped_lock guard(lookup->lock);
            lookup->outcome = std::move(outcome);
            lookup->done.notify_one();
        }).detach();
    } catch (const std::system_error&) {
        return false;
    }
    return true;
}

std::optional<Outcome> look_up_until(const HostPort& place,
                                     std::chrono::steady_clock::time_point deadline) {
    const auto lookup = std::make_shared<Lookup>();
    if (!start(lookup, place)) return look_up_name(place);
    std::unique_lock guard(lookup->lock);
    lookup->done.wait_until(guard, deadline, [&] { return lookup->outcome.has_value(); });
    return std::move(lookup->outcome);
}

int errno_of(const Outcome& outcome) {
    if (outcome.status == EAI_SYSTEM) return outcome.error;
    return outcome.status == EAI_SERVICE ? EINVAL : EHOSTUNREACH;
}

}  // namespace

Result<AddressList> look_up(const HostPort& place, std::chrono::steady_clock::time_point deadline) {
    // An address is there at once.
    std::optional<Outcome> outcome = ask_resolver(place, AI_NUMERICHOST);
    if (outcome->status == EAI_NONAME) outcome = look_up_until(place, deadline);
    if (!outcome) return failure(ETIMEDOUT, "the name was not found in time");
    if (outcome->status == 0) return std::move(outcome->list);
    const int code = errno_of(*outcome);
    return failure(
        code, outcome->status == EAI_SYSTEM ? std::strerror(code) : gai_strerror(outcome->status));
}

}  // namespace tlsfs::internal
