// SPDX-License-Identifier: MIT
// Reading certificates and keys from descriptors of guests, which may be anything.
#pragma once

#include <chrono>

#include "core/result.h"
#include "core/secret.h"
#include "core/unique_fd.h"
#include "io/dial.h"

namespace tlsfs {

// Reads to the end. Blocks; for a background thread. ETIMEDOUT past `deadline`, ECANCELED, EFBIG
// past `most` bytes. A file of a file system that never answers blocks for ever all the same.
[[nodiscard]] Result<SecretBytes> read_pem(const UniqueFd& fd, std::size_t most,
                                           std::chrono::steady_clock::time_point deadline,
                                           const Cancellation& cancellation);

}  // namespace tlsfs
