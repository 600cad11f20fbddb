// SPDX-License-Identifier: MIT
#include "core/rate_bound.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace tlsfs {

void RateBound::refill(Allowance& allowance, Rate rate, Clock::time_point now) {
    const double seconds = std::chrono::duration<double>(now - allowance.since).count();
    allowance.left = std::min(rate.burst, allowance.left + rate.per_second * seconds);
    allowance.since = now;
}

// Whoever has their whole allowance is as good as new.
void RateBound::forget_the_idle(Clock::time_point now) {
    for (auto user = users_.begin(); user != users_.end();) {
        refill(user->second, each_, now);
        user = user->second.left >= each_.burst ? users_.erase(user) : std::next(user);
    }
}

std::optional<std::uint64_t> RateBound::admit(uid_t user, Clock::time_point now) {
    if (users_.size() >= kMaxUsers && !users_.contains(user)) {
        forget_the_idle(now);
        // Somebody has a thousand users at their disposal.
        if (users_.size() >= kMaxUsers) return std::nullopt;
    }
    Allowance& own = users_.try_emplace(user, Allowance{each_.burst, now, 0}).first->second;
    refill(own, each_, now);
    refill(total_, all_, now);
    if (own.left < 1 || total_.left < 1) {
        ++own.turned_down;
        return std::nullopt;
    }
    own.left -= 1;
    total_.left -= 1;
    return std::exchange(own.turned_down, 0);
}

}  // namespace tlsfs
