// SPDX-License-Identifier: MIT
// How the companion exits: tlsfs(8).
#pragma once

namespace tlsfs {

inline constexpr int kExitUsage = 100;   // the command line or the configuration is wrong
inline constexpr int kExitSystem = 111;  // it could not mount or serve

}  // namespace tlsfs
