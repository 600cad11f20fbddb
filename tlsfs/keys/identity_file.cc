// SPDX-License-Identifier: MIT
#include "keys/identity_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "core/ctl.h"
#include "core/number.h"
#include "core/status.h"

namespace tlsfs::keys {
namespace {

using Words = std::span<const std::string>;
using Problem = std::optional<std::string>;  // what is wrong with a value

Problem take_path(const std::string& word, std::string& into) {
    if (!word.starts_with('/')) return fmt::format("'{}' does not begin with /", word);
    into = word;
    return {};
}

Problem set_cert(Words words, IdentityFile& file) {
    return take_path(words.front(), file.cert);
}

Problem set_key(Words words, IdentityFile& file) {
    const std::string& word = words.front();
    if (word.starts_with('/')) {
        file.key = {KeyPlace::Where::file, word};
    } else if (word.starts_with("pkcs11:")) {
        file.key = {KeyPlace::Where::pkcs11, word};
    } else if (word.starts_with("handle:") || word.starts_with("object:")) {
        file.key = {KeyPlace::Where::tpm, word};
    } else {
        return "neither a path nor pkcs11:, handle: or object:";  // it may hold a PIN
    }
    return {};
}

Problem set_users(Words words, IdentityFile& file) {
    if (words.size() > kMaxUsers) return fmt::format("more than {}", kMaxUsers);
    for (const std::string& word : words) {
        if (word.empty()) return "an empty name";
        file.users.push_back(word);
    }
    return {};
}

Problem set_roles(Words words, IdentityFile& file) {
    for (const std::string& word : words) {
        if (word != "client" && word != "server") {
            return fmt::format("'{}' is neither client nor server", word);
        }
        file.roles.insert(word == "client" ? Role::client : Role::server);
    }
    return {};
}

Problem set_minimum_version(Words words, IdentityFile& file) {
    const std::string& word = words.front();
    if (word != "1.2" && word != "1.3") return fmt::format("'{}' is neither 1.2 nor 1.3", word);
    file.min_version = word == "1.3" ? TlsVersion::tls13 : TlsVersion::tls12;
    return {};
}

struct KeyEntry {
    std::string_view name;
    std::size_t max_words;
    Problem (*apply)(Words, IdentityFile&);
    bool required;
};

// In the order of tlskeyd(8).
constexpr std::array kKeys{
    KeyEntry{"cert", 1, set_cert, true},
    KeyEntry{"key", 1, set_key, true},
    KeyEntry{"users", kAnyNumber, set_users, false},
    KeyEntry{"roles", kAnyNumber, set_roles, true},
    KeyEntry{"minimum-version", 1, set_minimum_version, false},
};
using Seen = std::array<bool, kKeys.size()>;

bool is_control(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

Problem take_identity_line(std::string_view line, IdentityFile& file, Seen& seen) {
    if (std::ranges::any_of(line, is_control)) return "a control character";
    const auto words = split_words(without_comment(line));
    if (!words) return words.error().text;
    if (words->empty()) return {};
    const auto* const entry = std::ranges::find(kKeys, words->front(), &KeyEntry::name);
    if (entry == kKeys.end()) return fmt::format("unknown key '{}'", words->front());
    bool& seen_it = seen[static_cast<std::size_t>(entry - kKeys.begin())];
    if (std::exchange(seen_it, true)) return fmt::format("{} is set already", entry->name);
    const auto values = Words(*words).subspan(1);
    if (values.empty()) return fmt::format("{} has no value", entry->name);
    if (values.size() > entry->max_words) return fmt::format("{} takes one value", entry->name);
    auto problem = entry->apply(values, file);
    if (problem) return fmt::format("{}: {}", entry->name, *problem);
    return {};
}

}  // namespace

Result<IdentityFile> parse_identity_file(std::string_view text) {
    if (text.size() > kMaxIdentityFile) {
        return failure(EINVAL, fmt::format("more than {} bytes", kMaxIdentityFile));
    }
    IdentityFile file;
    Seen seen{};
    for (unsigned number = 1; !text.empty(); ++number) {
        if (auto problem = take_identity_line(take_line(text), file, seen)) {
            return failure(EINVAL, fmt::format("line {}: {}", number, printable(*problem)));
        }
    }
    for (std::size_t i = 0; i < kKeys.size(); ++i) {
        if (!kKeys[i].required || seen[i]) continue;
        return failure(EINVAL, fmt::format("{} is missing", kKeys[i].name));
    }
    return file;
}

}  // namespace tlsfs::keys
