// SPDX-License-Identifier: MIT
#include "text.h"

namespace tlsfs::internal {
namespace {

bool is_control(unsigned char byte) {
    return byte < 0x20 || byte == 0x7f;
}

// U+0080 to U+009F, which some terminals take for escape sequences: 0xC2 and one of these.
bool is_c1_tail(unsigned char byte) {
    return byte >= 0x80 && byte <= 0x9f;
}

}  // namespace

std::optional<std::string> quoted(std::string_view word) {
    if (word.find_first_of(std::string_view("\n\0", 2)) != std::string_view::npos) {
        return std::nullopt;
    }
    if (!word.empty() && word.find_first_of(" \t'") == std::string_view::npos) {
        return std::string(word);
    }
    std::string result = "'";
    for (const char c : word) {
        if (c == '\'') result += '\'';
        result += c;
    }
    return result + "'";
}

std::string printable(std::string text) {
    unsigned char before = 0;
    for (char& c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (is_control(byte) || (before == 0xc2 && is_c1_tail(byte))) c = '?';
        before = byte;
    }
    return text;
}

std::map<std::string, std::string> parse_tags(std::string_view text) {
    std::map<std::string, std::string> tags;
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);

        const auto colon = line.find(": ");
        if (colon == std::string_view::npos || colon == 0) continue;
        tags.emplace(printable(std::string(line.substr(0, colon))),
                     printable(std::string(line.substr(colon + 2))));
    }
    return tags;
}

}  // namespace tlsfs::internal
