// SPDX-License-Identifier: MIT
// Numbers of connections as text, and how many words a line takes.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace tlsfs {

// In the tables of verbs and keys: as many words as there are.
inline constexpr auto kAnyNumber = std::numeric_limits<std::size_t>::max();

// As the tree writes it: no sign, no leading zero.
[[nodiscard]] inline std::optional<std::uint32_t> parse_number(std::string_view text) {
    if (text.empty() || (text.size() > 1 && text.front() == '0')) return std::nullopt;
    std::uint32_t number = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || rest != end) return std::nullopt;
    return number;
}

}  // namespace tlsfs
