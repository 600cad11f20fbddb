// SPDX-License-Identifier: MIT
// A private key, wherever it is.
#pragma once

#include "core/bytes.h"
#include "core/key_message.h"
#include "core/result.h"

namespace tlsfs::keys {

class SigningKey {
 public:
    SigningKey() = default;
    SigningKey(const SigningKey&) = delete;
    SigningKey& operator=(const SigningKey&) = delete;
    virtual ~SigningKey() = default;

    // Of `content`, not of its hash; the scheme is one of the key's kind. ENODEV: it cannot be
    // reached now. Any thread may call it, unless it is slow: then one at a time.
    [[nodiscard]] virtual Result<Bytes> sign(const SchemeFacts& scheme, ByteView content) = 0;
    // It may take long, or hang: it has a thread of its own.
    [[nodiscard]] virtual bool is_slow() const = 0;
};

}  // namespace tlsfs::keys
