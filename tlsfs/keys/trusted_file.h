// SPDX-License-Identifier: MIT
// Files that say who may sign what: only their owner can have written them.
#pragma once

#include <string>

#include "core/result.h"
#include "core/secret.h"

namespace tlsfs::keys {

enum class Secrecy : std::uint8_t { open, secret };

// A file of root's, or of our own, that nobody else can write to; a secret one that not everybody
// can read. EACCES where it is another's. The text names the file.
[[nodiscard]] Result<SecretBytes> read_trusted_file(const std::string& path, Secrecy secrecy);

// What changes when another file takes its place, or its bytes change.
[[nodiscard]] std::string stamp_of(const std::string& path);

}  // namespace tlsfs::keys
