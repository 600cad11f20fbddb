// SPDX-License-Identifier: MIT
// The little of rtnetlink(7) that a private network namespace needs.
#pragma once

#include <cstdint>

#include "core/result.h"

namespace tlsfs::netlink {

// Switches the device on.
[[nodiscard]] Result<> bring_up(std::uint32_t device);

// Makes every address of the family local to the device. For AF_INET6 with `link_local` only
// fe80::/10.
[[nodiscard]] Result<> make_all_local(int family, std::uint32_t device, bool link_local = false);

// Makes a virtual device with that index. `kind` is a name as ip-link(8) has it.
[[nodiscard]] Result<> make_device(std::uint32_t index, const char* kind);

}  // namespace tlsfs::netlink
