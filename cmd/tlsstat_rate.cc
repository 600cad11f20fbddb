// SPDX-License-Identifier: MIT
#include "tlsstat_rate.h"

#include <utility>

namespace tlsfs::cmd {

Rates RateMeter::measure(const std::vector<Seen>& all, Clock::time_point now) {
    const double seconds = std::chrono::duration<double>(now - std::exchange(when_, now)).count();
    Rates rates;
    std::map<unsigned, Count> counts;
    for (const Seen& seen : all) {
        const Count count{seen.count("DataIn"), seen.count("DataOut")};
        counts.emplace(seen.number, count);
        const auto earlier = before_.find(seen.number);
        if (earlier == before_.end() || seconds <= 0) continue;
        const auto& [in, out] = earlier->second;
        // Less than before: another connection has the number, under another companion.
        if (count.in < in || count.out < out) continue;
        rates[seen.number] = {static_cast<double>(count.in - in) / seconds,
                              static_cast<double>(count.out - out) / seconds};
    }
    before_ = std::move(counts);
    return rates;
}

}  // namespace tlsfs::cmd
