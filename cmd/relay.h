// SPDX-License-Identifier: MIT
// stdin to the peer, and what the peer says to stdout, where the companion cannot relay that
// itself.
#pragma once

#include <string>

#include "tlsclient.hpp"

namespace tlsfs::cmd {

// Relays until the peer has ended its side. The end of stdin becomes a close_notify, and what the
// peer still has to say is waited for. Returns the exit code, having said what went wrong.
[[nodiscard]] int relay(Connection connection, const std::string& peer);

}  // namespace tlsfs::cmd
