// SPDX-License-Identifier: MIT
// stdin to the peer, and what the peer says to stdout, relayed by the companion.
#pragma once

#include <map>
#include <string>

#include "attach_client.h"

namespace tlsfs::cmd {

// Are stdin and stdout what the companion may have? Both must be pipes. Not a terminal: job control
// stops a process that reads one in the background, but not the companion. Not a socket: its end,
// which the companion would pass on by shutdown(2), would be the end for all that share it.
[[nodiscard]] bool can_give_standard_descriptors();

// Waits until the companion has relayed all. Returns the exit code, having said what went wrong, as
// relay() does. When this process ends early the connection is hung up.
[[nodiscard]] int wait_for_companion(internal::AttachClient& guest,
                                     const std::map<std::string, std::string>& status,
                                     const std::string& peer);

}  // namespace tlsfs::cmd
