// SPDX-License-Identifier: MIT
// PEM in (RFC 7468), objects out.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "core/secret.h"
#include "engine/openssl_ptr.h"

namespace tlsfs {

struct Authorities {
    std::vector<X509Ptr> certificates;
    std::vector<CrlPtr> crls;
};

// Each fails with EINVAL and a text that names the cause; an empty or encrypted file is a failure.
[[nodiscard]] Result<Authorities> parse_authorities(const SecretBytes& pem);
[[nodiscard]] Result<std::vector<X509Ptr>> parse_chain(const SecretBytes& pem);  // leaf first
[[nodiscard]] Result<KeyPtr> parse_key(const SecretBytes& pem);

// True when the text ends in a whole PEM block: the time to judge it.
[[nodiscard]] bool ends_in_block(const SecretBytes& pem);

// The certificates as PEM text, in order.
[[nodiscard]] std::string to_pem(const std::vector<X509*>& certificates);

}  // namespace tlsfs
