// SPDX-License-Identifier: MIT
// How tlsfs(8) and tlskeyd(8) exit.
#pragma once

namespace tlsfs {

inline constexpr int kExitUsage = 100;   // the command line or the configuration is wrong
inline constexpr int kExitSystem = 111;  // it could not mount, listen or serve

}  // namespace tlsfs
