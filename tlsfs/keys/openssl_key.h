// SPDX-License-Identifier: MIT
// A key that OpenSSL signs with: from a file, or in a TPM by the provider tpm2.
#pragma once

#include <openssl/crypto.h>

#include <memory>

#include "engine/openssl_ptr.h"
#include "keys/signing_key.h"

namespace tlsfs::keys {

class OpensslKey final : public SigningKey {
 public:
    enum class Speed : std::uint8_t { fast, slow };
    OpensslKey(KeyPtr key, OSSL_LIB_CTX* library, Speed speed)
        : key_(std::move(key)), library_(library), speed_(speed) {}

    [[nodiscard]] Result<Bytes> sign(const SchemeFacts& scheme, ByteView content) override;
    [[nodiscard]] bool is_slow() const override { return speed_ == Speed::slow; }
    [[nodiscard]] EVP_PKEY* get() const { return key_.get(); }

 private:
    const KeyPtr key_;
    OSSL_LIB_CTX* const library_;  // null: the usual one
    const Speed speed_;
};

// Of a scheme's kind: RSA, EC, Ed25519 or Ed448.
[[nodiscard]] bool fits(const EVP_PKEY* key, SchemeKind kind);
// RSA of 2048 to 8192 bits, EC on a curve of TLS, Ed25519, Ed448. EINVAL.
[[nodiscard]] Result<> check_kind(const EVP_PKEY* key);
// Is `signature` one over `content` by this public key?
[[nodiscard]] bool verifies(EVP_PKEY* key, const SchemeFacts& scheme, ByteView content,
                            ByteView signature);

}  // namespace tlsfs::keys
