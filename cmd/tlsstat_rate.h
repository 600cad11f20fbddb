// SPDX-License-Identifier: MIT
// Bytes a second, from what was counted at two moments.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "tlsstat_tree.h"

namespace tlsfs::cmd {

struct Rate {
    double in = 0, out = 0;
};
using Rates = std::map<unsigned, Rate>;  // by number; those that are known

class RateMeter {
 public:
    using Clock = std::chrono::steady_clock;

    // The rates since the last call.
    [[nodiscard]] Rates measure(const std::vector<Seen>& all, Clock::time_point now);

 private:
    struct Count {
        std::uint64_t in, out;
    };
    std::map<unsigned, Count> before_;
    Clock::time_point when_;
};

}  // namespace tlsfs::cmd
