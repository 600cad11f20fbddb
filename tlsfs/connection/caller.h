// SPDX-License-Identifier: MIT
// What is taken from the process behind a request. The only code that knows /proc and pidfds.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string_view>

#include "connection/request.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "io/dial.h"

namespace tlsfs {

// A connection obeys its owner. Root may hang it up, and no more: in any other line a number would
// mean root's own descriptor, and a path what root can reach.
[[nodiscard]] bool may_command(Caller writer, Caller owner, std::string_view lines);

// Callers are named by the thread id that FUSE gives. It stays theirs while their request waits:
// not even SIGKILL ends a thread before FUSE's answer.

// A duplicate of the caller's descriptor. EBADF: there is none. EPERM: it may not be taken, because
// the caller is in another pid namespace, or is more than `owner` (setuid, file capabilities), or
// is not dumpable, or the kernel's ptrace rules forbid it: the `attach` socket is the way then.
[[nodiscard]] Result<UniqueFd> take_caller_fd(pid_t thread, Caller owner, int number);

// Whose ids a dial should use: none when they are our own. EPERM where the caller does not share
// our network (for a path: mount) namespace: what it cannot reach, we do not reach for it.
[[nodiscard]] Result<std::optional<Identity>> caller_identity(pid_t thread, Caller caller,
                                                              bool path);

// True if the thread resolves paths as we do.
[[nodiscard]] bool shares_files(pid_t thread);

}  // namespace tlsfs
