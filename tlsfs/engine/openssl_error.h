// SPDX-License-Identifier: MIT
// The one place that reads OpenSSL's error queue.
#pragma once

#include <string>

#include "core/result.h"

namespace tlsfs {

// Empties the queue into an Error: the contract's errno where the reason has one, `otherwise` else.
// `what` says what was tried.
[[nodiscard]] Error take_openssl_error(const std::string& what, int otherwise);

}  // namespace tlsfs
