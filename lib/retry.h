// SPDX-License-Identifier: MIT
// System calls that a caller's signal handler may interrupt.
#pragma once

#include <cerrno>

namespace tlsfs::internal {

// Makes a call again as long as a signal ended it.
template <class Call>
auto uninterrupted(Call call) {
    auto result = call();
    while (result == -1 && errno == EINTR) result = call();
    return result;
}

}  // namespace tlsfs::internal
