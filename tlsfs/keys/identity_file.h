// SPDX-License-Identifier: MIT
// The grammar of an identity's file, NAME.conf: tlskeyd(8). A line is a key and its words, as in
// tlsfs.conf(5).
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/settings.h"

namespace tlsfs::keys {

inline constexpr std::size_t kMaxIdentityFile = 16U << 10U;  // bytes
inline constexpr std::size_t kMaxUsers = 64;                 // words behind `users`

struct KeyPlace {
    enum class Where : std::uint8_t { file, pkcs11, tpm };
    Where where = Where::file;
    std::string place;  // a path, or a URI
};

struct IdentityFile {
    std::string cert;
    KeyPlace key;
    std::vector<std::string> users;  // names, numbers, or *
    std::set<Role> roles;
    TlsVersion min_version = TlsVersion::tls12;
};

// EINVAL: `line N: reason`, or what is missing.
[[nodiscard]] Result<IdentityFile> parse_identity_file(std::string_view text);

}  // namespace tlsfs::keys
