// SPDX-License-Identifier: MIT
// How often users may cause something that costs all of us: each has an allowance that fills up
// again, and all of them together have one.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <unordered_map>

namespace tlsfs {

class RateBound {
 public:
    using Clock = std::chrono::steady_clock;
    static constexpr std::size_t kMaxUsers = 1024;  // remembered at a time

    struct Rate {
        double burst;
        double per_second;
    };

    RateBound(Rate each, Rate all) : each_(each), all_(all), total_{all.burst, {}, 0} {}

    // Nothing: not now. Else how many of this user's were turned down since the last that was not.
    [[nodiscard]] std::optional<std::uint64_t> admit(uid_t user, Clock::time_point now);

 private:
    struct Allowance {
        double left;
        Clock::time_point since;
        std::uint64_t turned_down;
    };
    static void refill(Allowance& allowance, Rate rate, Clock::time_point now);
    void forget_the_idle(Clock::time_point now);

    const Rate each_, all_;
    Allowance total_;
    std::unordered_map<uid_t, Allowance> users_;
};

}  // namespace tlsfs
