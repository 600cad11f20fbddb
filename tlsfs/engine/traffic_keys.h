// SPDX-License-Identifier: MIT
// The keys of an established connection, for a record layer that is not OpenSSL's. Debian's OpenSSL
// has no kTLS, so the secrets come from its key log callback and the keys are derived here.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <string_view>

#include "core/result.h"
#include "core/secret.h"

namespace tlsfs {

// What the key log tells of one connection; wiped with the object.
struct TrafficSecrets {
    SecretBytes client, server;  // TLS 1.3: application traffic secrets
    SecretBytes master;          // TLS 1.2

    // One line of the key log (NSS's format: a label, the client's random, the secret;
    // hexadecimal).
    void note(std::string_view line);
    void forget();
};

// One direction.
struct TrafficKey {
    SecretBytes key;
    SecretBytes iv;  // TLS 1.3, and ChaCha20 in 1.2: 12 bytes; AES-GCM in 1.2: the salt, 4 bytes
};

struct TrafficKeys {
    TrafficKey write, read;
};

// From the secrets of `ssl`, whose handshake is over. EOPNOTSUPP for a suite that is not
// AES-GCM or ChaCha20-Poly1305.
[[nodiscard]] Result<TrafficKeys> derive_traffic_keys(const SSL* ssl,
                                                      const TrafficSecrets& secrets);

// A TLS 1.3 record of `type` around `content`, as the owner of `key` would send it with number
// `sequence` (RFC 8446 section 5.2).
[[nodiscard]] Result<SecretBytes> seal_record(const SSL* ssl, const TrafficKey& key,
                                              std::uint64_t sequence, std::uint8_t type,
                                              std::string_view content);

}  // namespace tlsfs
