// SPDX-License-Identifier: MIT
// The alerts' names, as RFC 8446 section 6 and its forerunners spell them.
#pragma once

#include <string_view>

namespace tlsfs {

// "unknown_alert" where the registry knows none.
[[nodiscard]] std::string_view alert_name(int code);

}  // namespace tlsfs
