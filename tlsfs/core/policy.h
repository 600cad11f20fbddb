// SPDX-License-Identifier: MIT
// What the administrator allows on a mount, and no program can weaken: tlsfs.conf(5).
#pragma once

#include <chrono>
#include <cstddef>
#include <set>
#include <string>
#include <string_view>

#include "core/key_message.h"
#include "core/result.h"
#include "core/settings.h"

namespace tlsfs {

struct Limits {
    std::size_t connections = 65536;
    std::size_t per_user = 16384;
};

// What `verify system` trusts.
struct TrustStore {
    std::string file;       // certificates as PEM
    std::string directory;  // certificates under the hashes of their subjects
    std::string crl;        // revocation lists as PEM: one for each issuer in a chain
    // Nothing is named: it is the machine's store.
    [[nodiscard]] bool is_machines() const { return file.empty() && directory.empty(); }
    bool operator==(const TrustStore&) const = default;
};

// The default forbids nothing.
struct Policy {
    using Mode = VerifyPolicy::Mode;

    TlsVersion min_version = TlsVersion::tls12;
    std::string ciphers;  // these are used, and no others may be asked for; empty: any may
    std::set<Mode> client_verify{Mode::system, Mode::ca, Mode::pin, Mode::none};
    std::chrono::milliseconds max_timeout{kMaxTimeout};
    bool dial = true;
    bool identities_only = false;  // no keys of users' own
    std::string key_socket{kUsualKeySocket};
    TrustStore trust;
    Limits limits;
};

// What a connection begins with.
[[nodiscard]] Settings first_settings(const Policy& policy);

// EACCES and the reason, where the policy forbids what is asked for; whatever line asked for it.
// Ciphers are not looked at: to know them takes OpenSSL.
[[nodiscard]] Result<> permits(const Policy& policy, const Choices& choices);
// The same when a handshake begins: only then is it known who is verified.
[[nodiscard]] Result<> permits(const Policy& policy, const Settings& settings, Role role);
// The same when the companion is asked to dial.
[[nodiscard]] Result<> permits_dial(const Policy& policy);

// EACCES where users may have no `cert` and `key` of their own.
[[nodiscard]] Result<> permits_own_key(const Policy& policy, std::string_view file);

// How the peer is verified if the handshake begins with these settings; never `unset`.
[[nodiscard]] VerifyPolicy::Mode verify_mode(const Settings& settings, Role role);

}  // namespace tlsfs
