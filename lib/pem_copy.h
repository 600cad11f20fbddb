// SPDX-License-Identifier: MIT
// Copies PEM from file to file by the kernel alone: a private key has no business in this process.
#pragma once

#include <cstdint>
#include <tl/expected.hpp>

#include "core/unique_fd.h"

namespace tlsfs::internal {

struct CopyFailure {
    enum class At : std::uint8_t { source, destination };
    At at;
    int code;
};

// Closes `destination` in any case, as the verdict on the text may come there.
[[nodiscard]] tl::expected<void, CopyFailure> copy_pem(int source, UniqueFd destination);

}  // namespace tlsfs::internal
