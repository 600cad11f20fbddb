// SPDX-License-Identifier: MIT
// Which public and private keys are computed with. An RSA key of 24,576 bits costs seconds a
// signature, and a curve that a key brings along can be anything.
#pragma once

#include "core/result.h"
#include "engine/openssl_ptr.h"

namespace tlsfs {

// Ours: RSA of 2048 to 8192 bits, a named curve, or a kind of one size. EINVAL and the reason.
[[nodiscard]] Result<> check_own_key(const EVP_PKEY* key);

// The peer's: how weak a key may be is OpenSSL's security level to say. EKEYREJECTED.
[[nodiscard]] Result<> check_peer_key(const EVP_PKEY* key);

}  // namespace tlsfs
