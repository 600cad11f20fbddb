// SPDX-License-Identifier: MIT
// Certificates in words. The only file of the commands that knows OpenSSL; what it reads was chosen
// by a stranger, and what it gives is printable ASCII.
#pragma once

#include <string>
#include <vector>

namespace tlsfs::cmd {

struct CertificateWords {
    std::string subject, issuer;        // RFC 2253
    std::string not_before, not_after;  // 2026-11-23 06:53:17, UTC
    long seconds_left = 0;              // below zero: expired
    bool not_yet_valid = false;
    std::vector<std::string> names;  // DNS:server.test, IP:192.0.2.1, …
    std::string key;                 // RSA 2048, EC prime256v1
    std::string sha256;              // lower-case hexadecimal, as `pin` takes it
};

// The certificates of a PEM text, in their order. What is no certificate ends them.
[[nodiscard]] std::vector<CertificateWords> chain_in_words(const std::string& pem);

}  // namespace tlsfs::cmd
