// SPDX-License-Identifier: MIT
// What tlsstat gives to programs.
#pragma once

#include <string>
#include <vector>

#include "tlsstat_chain.h"
#include "tlsstat_rate.h"
#include "tlsstat_tree.h"

namespace tlsfs::cmd {

// One array, in one line: an object a connection, with the names of status and stats.
[[nodiscard]] std::string json(const std::vector<Seen>& all, const Rates* rates);
// The same with one object, which has its "Chain".
[[nodiscard]] std::string json(const Seen& seen, const std::vector<CertificateWords>& chain);

// Prometheus' text format.
[[nodiscard]] std::string exposition(const std::vector<Seen>& all);

}  // namespace tlsfs::cmd
