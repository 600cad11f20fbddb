// SPDX-License-Identifier: MIT
// What the grammars of tlsfs.conf(5) and of an identity's file, tlskeyd(8), share: a line is a key
// and its words. A # that begins a line or follows a blank begins a comment.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/settings.h"

namespace tlsfs {

using Problem = std::optional<std::string>;  // what is wrong with a line, or with a value

// A key, how many words it takes, and what they do to a `Target`.
template <class Target>
struct KeyEntry {
    std::string_view name;
    std::size_t max_words;
    Problem (*apply)(std::span<const std::string> words, Target& target);
};

// Other than a tab. A carriage return would become part of the last word.
[[nodiscard]] bool has_control_character(std::string_view line);

// Key and words of a line, unquoted; nothing where it is empty or a comment. EINVAL for an open
// quote.
[[nodiscard]] Result<std::vector<std::string>> split_key_line(std::string_view line);

// Values that both files have. A path begins with /: our working directory is another than that of
// who wrote the file.
[[nodiscard]] Problem take_path(const std::string& word, std::string& into);
[[nodiscard]] Problem take_version(const std::string& word, TlsVersion& into);

// `words`: as split_key_line() gave them, the key first.
template <class Target>
[[nodiscard]] Problem apply_key(const KeyEntry<Target>& entry, std::span<const std::string> words,
                                Target& target) {
    const auto values = words.subspan(1);
    if (values.empty()) return fmt::format("{} has no value", entry.name);
    if (values.size() > entry.max_words) return fmt::format("{} takes one value", entry.name);
    const Problem problem = entry.apply(values, target);
    if (problem) return fmt::format("{}: {}", entry.name, *problem);
    return {};
}

}  // namespace tlsfs
