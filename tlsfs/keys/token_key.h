// SPDX-License-Identifier: MIT
// The key of an identity that a PKCS #11 token keeps. It is looked for when it is first used, and
// again when the token fails: it may be plugged in later.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "keys/signing_key.h"
#include "keys/token.h"

namespace tlsfs::keys {

class TokenKey final : public SigningKey {
 public:
    [[nodiscard]] static Result<std::shared_ptr<TokenKey>> make(const std::string& uri);

    [[nodiscard]] Result<Bytes> sign(const SchemeFacts& scheme, ByteView content) override;
    [[nodiscard]] bool is_slow() const override { return true; }

 private:
    explicit TokenKey(UriPtr uri) : uri_(std::move(uri)) {}
    [[nodiscard]] Result<Bytes> try_once(const SchemeFacts& scheme, ByteView content);
    [[nodiscard]] Result<> open();
    void hang_up();

    const UriPtr uri_;
    // Of the one thread that signs.
    std::optional<Modules> modules_;
    std::optional<TokenSession> session_;
    std::optional<Error> pin_refused_;  // tried again, it would lock the token
};

}  // namespace tlsfs::keys
