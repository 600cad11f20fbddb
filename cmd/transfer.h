// SPDX-License-Identifier: MIT
// Bytes in and out of blocking descriptors.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>

#include "tlsclient.hpp"

namespace tlsfs::cmd {

inline constexpr std::size_t kChunk = 128UL * 1024;

// As read(2), but never ended by a signal.
[[nodiscard]] ssize_t read_some(int fd, std::span<char> buffer);

// False, with errno, if not all could be written.
[[nodiscard]] bool write_all(int fd, std::span<const char> bytes);

// The errno of a failed read or write of data, with the cause as status tells it.
[[nodiscard]] Failure why_broken(const Connection& connection);

// After data has read 0. A TCP socket tells of a reset once: where a thread that writes has met it,
// a thread that reads sees an end.
[[nodiscard]] Failure why_ended(const Connection& connection);

}  // namespace tlsfs::cmd
