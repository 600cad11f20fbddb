// SPDX-License-Identifier: MIT
#include "core/allow.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace tlsfs {
namespace {

using Kind = AllowRule::Kind;

constexpr std::array kPrefixes{
    std::pair{std::string_view("cn:"), Kind::common_name},
    std::pair{std::string_view("dns:"), Kind::dns},
    std::pair{std::string_view("uri:"), Kind::uri},
    std::pair{std::string_view("email:"), Kind::email},
};

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Where the path of a URI begins, or what else stands behind scheme and authority.
std::size_t path_of(std::string_view uri) {
    const auto authority = uri.find("://");
    const auto from = authority == std::string_view::npos ? uri.find(':') : authority + 3;
    return uri.find_first_of("/?#", from);
}

// One name as a kind of rule sees it.
class Name {
 public:
    Name(Kind kind, std::string_view text) : text_(text), kind_(kind) {
        if (kind == Kind::email) second_part_ = text.find('@');
        if (kind == Kind::uri) second_part_ = path_of(text);
    }

    [[nodiscard]] std::size_t size() const { return text_.size(); }
    [[nodiscard]] bool is_separator(std::size_t at) const {
        return separators(at).find(text_[at]) != std::string_view::npos;
    }
    [[nodiscard]] bool equals(std::size_t at, char wanted) const {
        return text_[at] == wanted || (ignores_case(at) && lower(text_[at]) == lower(wanted));
    }

 private:
    [[nodiscard]] bool in_second_part(std::size_t at) const {
        return second_part_ != std::string_view::npos && at >= second_part_;
    }
    [[nodiscard]] std::string_view separators(std::size_t at) const {
        switch (kind_) {
            case Kind::common_name:
            case Kind::dns:
                return ".";
            case Kind::email:
                return in_second_part(at) ? "@." : "@";
            case Kind::uri:
                return in_second_part(at) ? "/?#" : "./:@";
        }
        return {};
    }
    [[nodiscard]] bool ignores_case(std::size_t at) const {
        return kind_ == Kind::dns || (kind_ == Kind::email && in_second_part(at));
    }

    std::string_view text_;
    Kind kind_;
    std::size_t second_part_ = std::string_view::npos;
};

}  // namespace

Result<AllowRule> parse_allow_rule(std::string_view word) {
    for (const auto& [prefix, kind] : kPrefixes) {
        if (!word.starts_with(prefix)) continue;
        const std::string_view pattern = word.substr(prefix.size());
        if (pattern.empty()) return failure(EINVAL, fmt::format("allow {} has no pattern", prefix));
        return AllowRule{kind, std::string(pattern)};
    }
    return failure(EINVAL, fmt::format("allow '{}' is none of cn:, dns:, uri:, email:", word));
}

// A star takes as little as possible, and more when what follows it does not fit. It is enough to
// go back to the last star: none passes a separator, so those before it have no other choice.
bool matches(const AllowRule& rule, std::string_view text) {
    const Name name(rule.kind, text);
    const std::string& pattern = rule.pattern;
    constexpr auto kNone = std::string::npos;
    std::size_t in_pattern = 0, in_name = 0;
    std::size_t star = kNone, star_ends = 0;  // and where in the name it ends
    for (;;) {
        const bool pattern_is_over = in_pattern == pattern.size();
        if (in_name == name.size() && pattern_is_over) return true;
        if (!pattern_is_over && in_name < name.size()) {
            if (pattern[in_pattern] == '*' && !name.is_separator(in_name)) {
                star = in_pattern++;
                star_ends = ++in_name;
                continue;
            }
            if (pattern[in_pattern] != '*' && name.equals(in_name, pattern[in_pattern])) {
                ++in_pattern;
                ++in_name;
                continue;
            }
        }
        if (star == kNone || star_ends == name.size() || name.is_separator(star_ends)) return false;
        in_name = ++star_ends;
        in_pattern = star + 1;
    }
}

}  // namespace tlsfs
