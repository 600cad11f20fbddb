// SPDX-License-Identifier: MIT
// Whether a client's certificate bears a name that `allow` lets in.
#pragma once

#include <span>

#include "core/allow.h"
#include "engine/openssl_ptr.h"

namespace tlsfs {

// The names are the last common name of the subject, and the alternative names. No rules let
// everybody in.
[[nodiscard]] bool is_allowed(X509* certificate, std::span<const AllowRule> rules);

}  // namespace tlsfs
