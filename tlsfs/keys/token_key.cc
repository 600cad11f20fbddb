// SPDX-License-Identifier: MIT
#include "keys/token_key.h"

#include <openssl/ecdsa.h>

#include <algorithm>
#include <array>

#include "engine/openssl_ptr.h"

namespace tlsfs::keys {
namespace {

struct HashFacts {
    std::string_view name;
    CK_MECHANISM_TYPE mechanism;
    CK_RSA_PKCS_MGF_TYPE mask;
    std::uint8_t digest_info[19];  // DER, up to the hash (RFC 8017 section 9.2)
};
constexpr std::array kHashes{
    HashFacts{"SHA256",
              CKM_SHA256,
              CKG_MGF1_SHA256,
              {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
               0x01, 0x05, 0x00, 0x04, 0x20}},
    HashFacts{"SHA384",
              CKM_SHA384,
              CKG_MGF1_SHA384,
              {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
               0x02, 0x05, 0x00, 0x04, 0x30}},
    HashFacts{"SHA512",
              CKM_SHA512,
              CKG_MGF1_SHA512,
              {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
               0x03, 0x05, 0x00, 0x04, 0x40}},
};

const HashFacts* hash_facts(const SchemeFacts& scheme) {
    if (scheme.hash == nullptr) return nullptr;
    const auto* const found = std::ranges::find(kHashes, scheme.hash, &HashFacts::name);
    return found == kHashes.end() ? nullptr : found;
}

Bytes hash_of(const SchemeFacts& scheme, ByteView content) {
    Bytes hash(EVP_MAX_MD_SIZE);
    std::size_t size = 0;
    if (EVP_Q_digest(nullptr, scheme.hash, nullptr, content.data(), content.size(), hash.data(),
                     &size) != 1) {
        return {};
    }
    hash.resize(size);
    return hash;
}

// A token gives the two numbers side by side, TLS wants them as DER.
Bytes ecdsa_as_der(ByteView numbers) {
    using SignaturePtr = std::unique_ptr<ECDSA_SIG, OpensslFree<ECDSA_SIG_free>>;
    const auto half = static_cast<int>(numbers.size() / 2);
    const SignaturePtr signature(ECDSA_SIG_new());
    BIGNUM* r = BN_bin2bn(numbers.data(), half, nullptr);
    BIGNUM* s = BN_bin2bn(numbers.data() + half, half, nullptr);
    if (!signature || r == nullptr || s == nullptr) throw std::bad_alloc();
    ECDSA_SIG_set0(signature.get(), r, s);
    unsigned char* der = nullptr;
    const int size = i2d_ECDSA_SIG(signature.get(), &der);
    const OpensslMemory<unsigned char> owned(der);
    return size > 0 ? Bytes(der, der + size) : Bytes();
}

Result<Bytes> sign_by(TokenSession& session, const SchemeFacts& scheme, ByteView content) {
    if (scheme.kind == SchemeKind::ed25519 || scheme.kind == SchemeKind::ed448) {
        return session.sign({CKM_EDDSA, nullptr, 0}, content);
    }
    const HashFacts* hash = hash_facts(scheme);
    if (hash == nullptr) return failure(EINVAL, "the token: no such hash");
    const Bytes hashed = hash_of(scheme, content);
    if (scheme.kind == SchemeKind::ecdsa) {
        return session.sign({CKM_ECDSA, nullptr, 0}, hashed).map(ecdsa_as_der);
    }
    if (scheme.kind == SchemeKind::rsa_pss) {
        CK_RSA_PKCS_PSS_PARAMS parameters{hash->mechanism, hash->mask, hashed.size()};
        return session.sign({CKM_RSA_PKCS_PSS, &parameters, sizeof parameters}, hashed);
    }
    Bytes info;
    append_bytes(info, hash->digest_info);
    append_bytes(info, hashed);
    return session.sign({CKM_RSA_PKCS, nullptr, 0}, info);
}

}  // namespace

Result<std::shared_ptr<TokenKey>> TokenKey::make(const std::string& text) {
    auto uri = parse_token_uri(text);
    if (!uri) return tl::unexpected(uri.error());
    return std::shared_ptr<TokenKey>(new TokenKey(std::move(*uri)));
}

Result<> TokenKey::open() {
    if (!modules_) {
        auto loaded = Modules::load(uri_.get());
        if (!loaded) return tl::unexpected(loaded.error());
        modules_.emplace(std::move(*loaded));
    }
    auto opened = TokenSession::open(*modules_, uri_.get());
    if (!opened) {
        if (opened.error().code == EACCES) pin_refused_ = opened.error();
        return tl::unexpected(opened.error());
    }
    session_.emplace(std::move(*opened));
    return {};
}

Result<Bytes> TokenKey::try_once(const SchemeFacts& scheme, ByteView content) {
    if (!session_) {
        if (auto opened = open(); !opened) return tl::unexpected(opened.error());
    }
    return sign_by(*session_, scheme, content);
}

Result<Bytes> TokenKey::sign(const SchemeFacts& scheme, ByteView content) {
    if (pin_refused_) return tl::unexpected(*pin_refused_);
    const bool had_session = session_.has_value();
    auto signature = try_once(scheme, content);
    if (signature) return signature;
    hang_up();
    // It may have been unplugged, and plugged in again, since it signed last.
    if (!had_session || pin_refused_) return signature;
    signature = try_once(scheme, content);
    if (!signature) hang_up();
    return signature;
}

// A module that has once looked for its tokens may see no others.
void TokenKey::hang_up() {
    session_.reset();
    modules_.reset();
}

}  // namespace tlsfs::keys
