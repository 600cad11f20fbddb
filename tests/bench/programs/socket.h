// SPDX-License-Identifier: MIT
// TCP on the loopback, always with TCP_NODELAY.
#pragma once

#include <cstdint>

#include "core/unique_fd.h"

namespace bench {

using tlsfs::UniqueFd;

UniqueFd listen_anywhere(std::uint16_t& port);
UniqueFd connect_to(std::uint16_t port);
void set_nodelay(int fd);
// As many descriptors as the machine allows this process.
void raise_descriptor_limit();

}  // namespace bench
