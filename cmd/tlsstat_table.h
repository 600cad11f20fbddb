// SPDX-License-Identifier: MIT
// What tlsstat shows to people.
#pragma once

#include <string>
#include <vector>

#include "tlsstat_chain.h"
#include "tlsstat_rate.h"
#include "tlsstat_tree.h"

namespace tlsfs::cmd {

// Lines, the first of them the heads of the columns. `rates`: with two columns more. Where `width`
// is not enough, columns that can be done without are left out.
inline constexpr std::size_t kAnyWidth = static_cast<std::size_t>(-1);
[[nodiscard]] std::vector<std::string> table(const std::vector<Seen>& all, const Rates* rates,
                                             std::size_t width = kAnyWidth);

// All that is known of one connection.
[[nodiscard]] std::vector<std::string> description(const Seen& seen,
                                                   const std::vector<CertificateWords>& chain);

// 12345 as 12.1K; four digits are left as they are.
[[nodiscard]] std::string bytes_text(double bytes);

// The name of a user id, or the id.
[[nodiscard]] std::string user_text(const std::string& uid);

}  // namespace tlsfs::cmd
