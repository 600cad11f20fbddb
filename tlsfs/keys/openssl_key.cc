// SPDX-License-Identifier: MIT
#include "keys/openssl_key.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <array>

#include "core/bounds.h"
#include "engine/openssl_error.h"

namespace tlsfs::keys {
namespace {

constexpr std::array<std::string_view, 6> kCurves{
    "prime256v1", "secp384r1", "secp521r1", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1",
};

const char* algorithm(SchemeKind kind) {
    switch (kind) {
        case SchemeKind::rsa_pkcs1:
        case SchemeKind::rsa_pss:
            return "RSA";
        case SchemeKind::ecdsa:
            return "EC";
        case SchemeKind::ed25519:
            return "ED25519";
        case SchemeKind::ed448:
            return "ED448";
    }
    return "";
}

bool set_padding(EVP_PKEY_CTX* context, SchemeKind kind) {
    if (kind == SchemeKind::rsa_pkcs1) {
        return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1;
    }
    if (kind != SchemeKind::rsa_pss) return true;
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

}  // namespace

bool fits(const EVP_PKEY* key, SchemeKind kind) {
    return EVP_PKEY_is_a(key, algorithm(kind)) == 1;
}

Result<> check_kind(const EVP_PKEY* key) {
    if (fits(key, SchemeKind::ed25519) || fits(key, SchemeKind::ed448)) return {};
    if (fits(key, SchemeKind::rsa_pss)) {
        const int bits = EVP_PKEY_get_bits(key);
        if (bits >= bounds::kMinRsaBits && bits <= bounds::kMaxRsaBits) return {};
        return failure(EINVAL, fmt::format("an RSA key of {} bits; it must have {} to {}", bits,
                                           bounds::kMinRsaBits, bounds::kMaxRsaBits));
    }
    if (!fits(key, SchemeKind::ecdsa)) {
        return failure(EINVAL, "the key is neither RSA, EC, Ed25519 nor Ed448");
    }
    std::array<char, 64> curve{};
    std::size_t size = 0;
    if (EVP_PKEY_get_group_name(key, curve.data(), curve.size(), &size) == 1 &&
        std::ranges::find(kCurves, std::string_view(curve.data(), size)) != kCurves.end()) {
        return {};
    }
    return failure(EINVAL, "the key is on a curve that TLS does not have");
}

Result<Bytes> OpensslKey::sign(const SchemeFacts& scheme, ByteView content) {
    ERR_clear_error();
    const DigestPtr digest(EVP_MD_CTX_new());
    EVP_PKEY_CTX* context = nullptr;
    Bytes signature(static_cast<std::size_t>(EVP_PKEY_get_size(key_.get())));
    std::size_t size = signature.size();
    const bool done =
        digest &&
        EVP_DigestSignInit_ex(digest.get(), &context, scheme.hash, library_, nullptr, key_.get(),
                              nullptr) == 1 &&
        set_padding(context, scheme.kind) &&
        EVP_DigestSign(digest.get(), signature.data(), &size, content.data(), content.size()) == 1;
    if (!done) return tl::unexpected(take_openssl_error("the key", ENODEV));
    signature.resize(size);
    return signature;
}

bool verifies(EVP_PKEY* key, const SchemeFacts& scheme, ByteView content, ByteView signature) {
    const DigestPtr digest(EVP_MD_CTX_new());
    EVP_PKEY_CTX* context = nullptr;
    const bool good = digest &&
                      EVP_DigestVerifyInit_ex(digest.get(), &context, scheme.hash, nullptr, nullptr,
                                              key, nullptr) == 1 &&
                      set_padding(context, scheme.kind) &&
                      EVP_DigestVerify(digest.get(), signature.data(), signature.size(),
                                       content.data(), content.size()) == 1;
    ERR_clear_error();
    return good;
}

}  // namespace tlsfs::keys
