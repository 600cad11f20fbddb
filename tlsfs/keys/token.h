// SPDX-License-Identifier: MIT
// A private key in a PKCS #11 token, and a session to use it. Calls wait for the token.
#pragma once

#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>

#include <memory>
#include <optional>
#include <string>

#include "core/bytes.h"
#include "core/result.h"

namespace tlsfs::keys {

struct UriFree {
    void operator()(P11KitUri* uri) const { p11_kit_uri_free(uri); }
};
using UriPtr = std::unique_ptr<P11KitUri, UriFree>;

// EINVAL for what is no URI of a key (RFC 7512).
[[nodiscard]] Result<UriPtr> parse_token_uri(const std::string& uri);

// The modules that a URI can mean: the one of its module-path, or all that p11-kit knows of.
class Modules {
 public:
    [[nodiscard]] static Result<Modules> load(P11KitUri* uri);
    Modules(Modules&& other) noexcept : list_(std::exchange(other.list_, nullptr)) {}
    Modules& operator=(Modules&&) = delete;
    Modules(const Modules&) = delete;
    Modules& operator=(const Modules&) = delete;
    ~Modules();

    [[nodiscard]] CK_FUNCTION_LIST** list() const { return list_; }

 private:
    explicit Modules(CK_FUNCTION_LIST** list) : list_(list) {}
    CK_FUNCTION_LIST** list_;  // ends with null
};

class TokenSession {
 public:
    // Finds the token and the key. ENODEV: one of them is not there now; EACCES: the PIN is wrong.
    [[nodiscard]] static Result<TokenSession> open(const Modules& modules, P11KitUri* uri);
    TokenSession(TokenSession&& other) noexcept;
    TokenSession& operator=(TokenSession&&) = delete;
    TokenSession(const TokenSession&) = delete;
    TokenSession& operator=(const TokenSession&) = delete;
    ~TokenSession();

    [[nodiscard]] Result<Bytes> sign(CK_MECHANISM mechanism, ByteView input);

 private:
    explicit TokenSession(CK_FUNCTION_LIST* module) : module_(module) {}
    [[nodiscard]] Result<> log_in(P11KitUri* uri);
    [[nodiscard]] Result<> find_key(P11KitUri* uri);

    CK_FUNCTION_LIST* module_;
    CK_SESSION_HANDLE session_ = 0;
    CK_OBJECT_HANDLE key_ = 0;
};

}  // namespace tlsfs::keys
