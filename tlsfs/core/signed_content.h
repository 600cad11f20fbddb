// SPDX-License-Identifier: MIT
// What is signed in a TLS handshake: taken apart where OpenSSL wants the signature (engine), put
// together again where the key is (keys). The keeper of the keys signs nothing that it has not put
// together here, so a companion that was taken over can have three things signed and no fourth:
//
// TLS 1.3, CertificateVerify (RFC 8446 section 4.4.3): 64 blanks, a text that names the role, and
//   the hash of the handshake. No other protocol signs that, and no other role.
//
// TLS 1.2, ServerKeyExchange (RFC 5246 section 7.4.3, RFC 8422 section 5.4): both randoms and the
//   parameters of the key exchange. There is no text that says what it is. The first 64 bytes are
//   the companion's choice; then come a group that we know and a public value of just its size. A
//   Diffie-Hellman prime must be one of RFC 3526, of 2048 to 4096 bits: the bytes that remain free
//   are too few for the content of the client's signature below, and a real client, which chooses
//   its own random, takes the client's content for no key exchange.
//
// TLS 1.2, CertificateVerify (RFC 5246 section 7.4.8): all messages of the handshake so far, not
//   their hash. They must be the messages of a client's handshake, in order, with the identity's
//   own certificate among them.
//
// What cannot be had: a companion that was taken over can finish any handshake of its role in the
// identity's name, also one that it only passes on, for as long as it lives. And a verifier of
// something else that is lax enough might take a ServerKeyExchange for what it expects, because
// half of it is free. Who wants neither risk says `minimum-version 1.3` for the identity, and uses
// its key for nothing but TLS.
#pragma once

#include <array>
#include <optional>
#include <variant>

#include "core/bytes.h"
#include "core/result.h"
#include "core/settings.h"

namespace tlsfs {

inline constexpr std::size_t kMaxHandshakeMessages = 128U << 10U;  // bytes
inline constexpr std::size_t kMaxKeyExchange = 2048;               // bytes

namespace signed_content {
struct Tls13 {
    Bytes hash;  // SHA-256 or SHA-384 of the handshake
    bool operator==(const Tls13&) const = default;
};
struct KeyExchange12 {
    std::array<std::uint8_t, 32> client_random{}, server_random{};
    Bytes parameters;
    bool operator==(const KeyExchange12&) const = default;
};
struct Handshake12 {
    Bytes messages;
    bool operator==(const Handshake12&) const = default;
};
}  // namespace signed_content

using SignedContent =
    std::variant<signed_content::Tls13, signed_content::KeyExchange12, signed_content::Handshake12>;

// Nothing: it is none of the three.
[[nodiscard]] std::optional<SignedContent> take_apart(Role role, ByteView content);

// The primes p that a finite-field key exchange may use, as bytes.
using KnownPrimes = std::span<const Bytes>;

// EINVAL with the reason where that is no part of a handshake in that role. `leaf`: the identity's
// certificate (DER).
[[nodiscard]] Result<Bytes> put_together(Role role, const SignedContent& content, ByteView leaf,
                                         KnownPrimes primes);

}  // namespace tlsfs
