// SPDX-License-Identifier: MIT
// The messages between who makes handshakes and tlskeyd(8), over a Unix socket of type
// SOCK_SEQPACKET. A guest says one thing and waits for its answer. There are two things to say:
// `find` gets an identity's certificates, `sign` a signature over what is to be signed in a
// handshake. All numbers have their big end first; what is longer than it may be, or has bytes left
// over, is no message.
//
//   find     1, kind 1, role, owner (4), name
//   sign     1, kind 2 (Tls13), 3 (KeyExchange12) or 4 (Handshake12), role, owner (4), name,
//            leaf (32), scheme (2), peer, then the content: a hash; two randoms and parameters;
//            messages
//   answer   0 (4), then what was asked for: flags (1), and certificates with 3 bytes of length
//            before each; or a signature
//            or an errno (4) and the reason, one line
//
// Name and peer have a byte of length before them.
#pragma once

#include <sys/types.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "core/settings.h"
#include "core/signed_content.h"

namespace tlsfs {

inline constexpr const char* kUsualKeySocket = "/run/tlskeyd/socket";

inline constexpr std::size_t kMaxIdentityName = 64;
inline constexpr std::size_t kMaxPeerText = 255;
inline constexpr std::size_t kMaxChain = 64U << 10U;  // bytes of all certificates
inline constexpr std::size_t kMaxChainLength = 16;
inline constexpr std::size_t kMaxSignature = 1024;  // RSA of 8192 bits
inline constexpr std::size_t kMaxKeyRequest = kMaxHandshakeMessages + 512;
inline constexpr std::size_t kMaxKeyAnswer = kMaxChain + 512;

// Letters, digits, and . _ - behind the first: a file of that name can lie in a directory.
[[nodiscard]] bool is_identity_name(std::string_view name);

// SHA-256 of the leaf certificate: which version of an identity is meant.
using LeafId = std::array<std::uint8_t, 32>;

// TLS's own numbers (RFC 8446 section 4.2.3). In TLS 1.2 those of ECDSA do not say the curve.
enum class SignatureScheme : std::uint16_t {
    rsa_pkcs1_sha256 = 0x0401,
    rsa_pkcs1_sha384 = 0x0501,
    rsa_pkcs1_sha512 = 0x0601,
    ecdsa_sha256 = 0x0403,
    ecdsa_sha384 = 0x0503,
    ecdsa_sha512 = 0x0603,
    rsa_pss_sha256 = 0x0804,
    rsa_pss_sha384 = 0x0805,
    rsa_pss_sha512 = 0x0806,
    ed25519 = 0x0807,
    ed448 = 0x0808,
};

enum class SchemeKind : std::uint8_t { rsa_pkcs1, rsa_pss, ecdsa, ed25519, ed448 };

struct SchemeFacts {
    SignatureScheme scheme;
    SchemeKind kind;
    const char* hash;  // OpenSSL's name of it; null: the scheme has its own
    std::string_view name;
};

// Nothing: it is none of those above.
[[nodiscard]] const SchemeFacts* scheme_facts(SignatureScheme scheme);
[[nodiscard]] const SchemeFacts* find_scheme(SchemeKind kind, std::string_view hash);

struct SignOrder {
    LeafId leaf{};
    SignatureScheme scheme{};
    std::string peer;  // for the log: who is at the other end, as the companion says
    SignedContent content;
    bool operator==(const SignOrder&) const = default;
};

struct KeyRequest {
    Role role = Role::client;
    uid_t owner = 0;  // for whom; believed of root only
    std::string identity;
    std::optional<SignOrder> sign;  // nothing: find
    bool operator==(const KeyRequest&) const = default;
};

// It is in bounds: names, sizes.
[[nodiscard]] Bytes encode(const KeyRequest& request);
// EINVAL.
[[nodiscard]] Result<KeyRequest> parse_key_request(ByteView bytes);

struct FoundIdentity {
    bool slow = false;         // its key is in a token
    std::vector<Bytes> chain;  // DER, leaf first
    bool operator==(const FoundIdentity&) const = default;
};

[[nodiscard]] Bytes encode(const FoundIdentity& found);
[[nodiscard]] Bytes encode_signature(ByteView signature);
[[nodiscard]] Bytes encode(const Error& error);

// The error that the answer is, or EPROTO where it is none.
[[nodiscard]] Result<FoundIdentity> parse_found(ByteView answer);
[[nodiscard]] Result<Bytes> parse_signature(ByteView answer);

}  // namespace tlsfs
