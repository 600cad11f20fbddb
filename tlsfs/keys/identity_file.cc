// SPDX-License-Identifier: MIT
#include "keys/identity_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "core/ctl.h"
#include "core/key_lines.h"
#include "core/number.h"
#include "core/status.h"

namespace tlsfs::keys {
namespace {

using Words = std::span<const std::string>;

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
    return take_version(words.front(), file.min_version);
}

struct IdentityKey : KeyEntry<IdentityFile> {
    bool required;
};

// In the order of tlskeyd(8).
constexpr std::array kKeys{
    IdentityKey{{"cert", 1, set_cert}, true},
    IdentityKey{{"key", 1, set_key}, true},
    IdentityKey{{"users", kAnyNumber, set_users}, false},
    IdentityKey{{"roles", kAnyNumber, set_roles}, true},
    IdentityKey{{"minimum-version", 1, set_minimum_version}, false},
};
using Seen = std::array<bool, kKeys.size()>;

Problem take_identity_line(std::string_view line, IdentityFile& file, Seen& seen) {
    if (has_control_character(line)) return "a control character";
    const auto words = split_key_line(line);
    if (!words) return words.error().text;
    if (words->empty()) return {};
    const auto* const entry = std::ranges::find(kKeys, words->front(), &IdentityKey::name);
    if (entry == kKeys.end()) return fmt::format("unknown key '{}'", words->front());
    bool& seen_it = seen[static_cast<std::size_t>(entry - kKeys.begin())];
    if (std::exchange(seen_it, true)) return fmt::format("{} is set already", entry->name);
    return apply_key(*entry, *words, file);
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
