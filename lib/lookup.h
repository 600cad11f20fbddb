// SPDX-License-Identifier: MIT
// getaddrinfo(3) with a deadline.
#pragma once

#include <netdb.h>

#include <chrono>
#include <memory>

#include "core/result.h"
#include "host_port.h"

namespace tlsfs::internal {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// The addresses to connect to. EHOSTUNREACH for a name without any, EINVAL for a service that there
// is none of, ETIMEDOUT.
[[nodiscard]] Result<AddressList> look_up(const HostPort& place,
                                          std::chrono::steady_clock::time_point deadline);

}  // namespace tlsfs::internal
