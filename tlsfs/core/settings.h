// SPDX-License-Identifier: MIT
// What a program can ask of a connection before its handshake, with the contract's defaults.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "core/allow.h"
#include "core/secret.h"

namespace tlsfs {

enum class Role : std::uint8_t { client, server };
enum class TlsVersion : std::uint8_t { tls12, tls13 };

// A thumbprint that stands in for a chain of trust: SHA-256 of the leaf certificate (DER), or of
// its SubjectPublicKeyInfo (as RFC 7469 section 2.4 takes it).
struct Pin {
    enum class Of : std::uint8_t { certificate, public_key };
    Of of = Of::certificate;
    std::array<std::uint8_t, 32> sha256{};
    bool operator==(const Pin&) const = default;
};

struct VerifyPolicy {
    enum class Mode : std::uint8_t {
        unset,   // client: ca if a ca was written, else system; server: none
        system,  // the machine's trust store
        ca,      // the connection's own `ca` file
        none,    // anybody: only ever because somebody said so
        pin,     // a certificate or key with one of these thumbprints, whatever its chain
    };
    Mode mode = Mode::unset;
    std::vector<Pin> pins;
    bool operator==(const VerifyPolicy&) const = default;
};

inline constexpr std::chrono::milliseconds kMaxTimeout = std::chrono::hours{24};

enum class EngineChoice : std::uint8_t { automatic, user, kernel };

// What the verbs of ctl set.
struct Choices {
    TlsVersion min_version = TlsVersion::tls12;
    TlsVersion max_version = TlsVersion::tls13;
    std::string ciphers;  // empty: AEAD suites with forward secrecy
    std::string groups;   // empty: the library's
    std::vector<std::string> alpn;
    VerifyPolicy verify;
    std::vector<AllowRule> allow;  // a server's: one must match the client's certificate
    std::chrono::milliseconds timeout{30'000};
    std::chrono::milliseconds idle{0};  // hang up when nothing has moved for so long; 0: never
    bool session_cache = true;
    EngineChoice engine = EngineChoice::automatic;
    std::vector<std::string> identities;  // whose keys are in tlskeyd; in place of cert and key
};

// What was written to the files of these names: PEM text.
struct Pems {
    SecretBytes ca, cert, key;
};

struct Settings : Choices, Pems {};

}  // namespace tlsfs
