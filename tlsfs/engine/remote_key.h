// SPDX-License-Identifier: MIT
// Private keys that are somewhere else: OpenSSL sees an EVP_PKEY, and what it wants signed goes to
// a Signer. A small provider in a library context of its own makes them; libssl takes a key's
// signatures from the provider that the key is of.
#pragma once

#include <memory>

#include "core/bytes.h"
#include "core/key_message.h"
#include "engine/openssl_ptr.h"

namespace tlsfs {

class Signer {
 public:
    Signer() = default;
    Signer(const Signer&) = delete;
    Signer& operator=(const Signer&) = delete;
    virtual ~Signer() = default;
    // A signature over `content` (not over its hash); nothing: there is none. May wait.
    [[nodiscard]] virtual std::optional<Bytes> sign(const SchemeFacts& scheme,
                                                    ByteView content) = 0;
};

// A private key whose public half is `certified` (RSA, EC, Ed25519 or Ed448). Null: OpenSSL
// refused.
[[nodiscard]] KeyPtr make_remote_key(const SharedKey& certified, std::shared_ptr<Signer> signer);

}  // namespace tlsfs
