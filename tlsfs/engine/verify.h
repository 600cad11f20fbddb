// SPDX-License-Identifier: MIT
// Whether a peer's certificate is accepted: chain, name, dates, revocation, thumbprints.
#pragma once

#include <array>
#include <cstdint>
#include <ctime>
#include <optional>
#include <span>
#include <string>

#include "core/result.h"
#include "core/settings.h"
#include "engine/openssl_ptr.h"

namespace tlsfs {

// What one handshake checks, and why it refused.
struct PeerCheck {
    VerifyPolicy policy;               // its mode is never `unset`
    std::span<const AllowRule> allow;  // the context's
    std::optional<Error> refusal;      // EKEYREJECTED, EKEYEXPIRED or EKEYREVOKED
};

// The callback for SSL_CTX_set_cert_verify_callback(). `check_index` is where the SSL keeps its
// PeerCheck.
int check_peer(X509_STORE_CTX* chain, void* unused);
[[nodiscard]] int peer_check_index();

// What the peer's certificate must bear: a DNS name or an IP address.
[[nodiscard]] bool is_ip_address(const std::string& name);
[[nodiscard]] Result<> require_name(SSL* ssl, const std::string& name);

// How long a session may be resumed without a look at the peer's chain: until the chain expires, or
// a day. For a connection whose handshake was a full one.
[[nodiscard]] std::time_t verified_until(const SSL* ssl);
// The same for a session that a server keeps, or seals into a ticket.
void limit_session(const SSL* ssl, SSL_SESSION* session);

// True if `leaf` has one of the thumbprints.
[[nodiscard]] bool matches_pin(X509* leaf, const std::vector<Pin>& pins);

// SHA-256 of the DER certificate; nothing where OpenSSL fails.
using Sha256Digest = std::array<std::uint8_t, 32>;
[[nodiscard]] std::optional<Sha256Digest> certificate_digest(X509* certificate);
// The same in lower-case hexadecimal.
[[nodiscard]] std::string fingerprint(X509* certificate);
// RFC 2253, control characters escaped.
[[nodiscard]] std::string subject(X509* certificate);

}  // namespace tlsfs
