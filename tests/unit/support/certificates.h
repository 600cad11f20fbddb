// SPDX-License-Identifier: MIT
// Certificates for the tests, made while they run.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/settings.h"
#include "engine/openssl_ptr.h"

namespace tlsfs::test {

struct Certificate {
    X509Ptr certificate;
    KeyPtr key;

    [[nodiscard]] std::string pem() const;
    [[nodiscard]] std::string key_pem() const;              // PKCS#8
    [[nodiscard]] std::string encrypted_key_pem() const;    // PKCS#8, with a passphrase
    [[nodiscard]] std::string traditional_key_pem() const;  // SEC 1, "EC PRIVATE KEY"
    [[nodiscard]] std::string encrypted_traditional_pem() const;
    [[nodiscard]] Pin pin(Pin::Of of) const;
};

struct Wanted {
    std::string subject = "server";
    std::vector<std::string> dns = {"server.test"};
    std::vector<std::string> ips, uris, emails;
    bool authority = false;
    long valid_from = -3600, valid_for = 86400;  // seconds, seen from now
};

// `issuer` null: signed with its own key.
[[nodiscard]] Certificate make_certificate(const Wanted& wanted, const Certificate* issuer);
[[nodiscard]] Certificate make_authority(const std::string& subject = "authority");

// PEM of a revocation list of `issuer` that names `revoked` (null: nobody).
[[nodiscard]] std::string make_crl(const Certificate& issuer, const Certificate* revoked);

[[nodiscard]] SecretBytes secret(std::string_view text);

}  // namespace tlsfs::test
