// SPDX-License-Identifier: MIT
#include "core/key_lines.h"

#include <algorithm>

#include "core/ctl.h"

namespace tlsfs {
namespace {

std::string_view without_comment(std::string_view line) {
    bool quoted = false;
    char before = ' ';
    for (std::size_t i = 0; i < line.size(); ++i) {
        if (line[i] == '\'') quoted = !quoted;
        if (line[i] == '#' && !quoted && (before == ' ' || before == '\t')) {
            return line.substr(0, i);
        }
        before = line[i];
    }
    return line;
}

}  // namespace

bool has_control_character(std::string_view line) {
    return std::ranges::any_of(line, [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return (byte < 0x20 && c != '\t') || byte == 0x7f;
    });
}

Result<std::vector<std::string>> split_key_line(std::string_view line) {
    return split_words(without_comment(line));
}

Problem take_path(const std::string& word, std::string& into) {
    if (!word.starts_with('/')) return fmt::format("'{}' does not begin with /", word);
    into = word;
    return {};
}

Problem take_version(const std::string& word, TlsVersion& into) {
    if (word != "1.2" && word != "1.3") return fmt::format("'{}' is neither 1.2 nor 1.3", word);
    into = word == "1.3" ? TlsVersion::tls13 : TlsVersion::tls12;
    return {};
}

}  // namespace tlsfs
