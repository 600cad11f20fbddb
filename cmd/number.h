// SPDX-License-Identifier: MIT
// Numbers as people and the files of a mount write them.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace tlsfs::cmd {

// `text` if all of it is one number that fits.
template <class Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text, int base = 10) {
    Number number{};
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number, base);
    if (error != std::errc{} || stop != end) return std::nullopt;
    return number;
}

}  // namespace tlsfs::cmd
