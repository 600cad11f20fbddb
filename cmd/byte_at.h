// SPDX-License-Identifier: MIT
// One byte of a message, as a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tlsfs::cmd {

[[nodiscard]] inline std::uint8_t byte_at(std::string_view bytes, std::size_t at) {
    return static_cast<std::uint8_t>(bytes[at]);
}

}  // namespace tlsfs::cmd
