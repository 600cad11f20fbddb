// SPDX-License-Identifier: MIT
#include "host_port.h"

#include <algorithm>
#include <charconv>

namespace tlsfs::internal {
namespace {

// The C library's depend on the locale.
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_letter(char c) {
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

bool is_letter_digit_hyphen(char c) {
    return is_letter(c) || is_digit(c) || c == '-';
}

bool is_label(std::string_view label) {
    constexpr std::size_t kMaxLabel = 63;  // RFC 1035 section 2.3.4
    return !label.empty() && label.size() <= kMaxLabel && label.front() != '-' &&
           label.back() != '-' && std::ranges::all_of(label, is_letter_digit_hyphen);
}

}  // namespace

std::optional<HostPort> parse_host_port(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos || colon + 1 == text.size()) return std::nullopt;
    std::string_view host = text.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
        return std::nullopt;
    }
    return HostPort{std::string(host), std::string(text.substr(colon + 1))};
}

bool is_port(std::string_view text) {
    if (text.empty()) return false;
    if (std::ranges::all_of(text, is_digit)) {
        unsigned number = 0;
        const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
        return read.ec == std::errc{} && number >= 1 && number <= 65535;
    }
    return std::ranges::any_of(text, is_letter) &&
           std::ranges::all_of(text, is_letter_digit_hyphen);
}

bool is_host_name(std::string_view text) {
    constexpr std::size_t kMaxName = 253;  // 255 bytes on the wire
    if (text.ends_with('.')) text.remove_suffix(1);
    if (text.size() > kMaxName) return false;
    for (;;) {
        const auto dot = text.find('.');
        if (!is_label(text.substr(0, dot))) return false;
        if (dot == std::string_view::npos) return true;
        text.remove_prefix(dot + 1);
    }
}

}  // namespace tlsfs::internal
