// SPDX-License-Identifier: MIT
// Keys that are elsewhere: OpenSSL asks for the signature, and for nothing else.
#include "engine/remote_key.h"

#include <doctest/doctest.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

using namespace tlsfs;

namespace {

SharedKey generate(const char* type, const char* detail) {
    EVP_PKEY* key = nullptr;
    if (std::string_view(type) == "RSA") {
        key = EVP_PKEY_Q_keygen(nullptr, nullptr, type, std::size_t{2048});
    } else if (detail != nullptr) {
        key = EVP_PKEY_Q_keygen(nullptr, nullptr, type, detail);
    } else {
        key = EVP_PKEY_Q_keygen(nullptr, nullptr, type);
    }
    REQUIRE(key != nullptr);
    return {key, OpensslFree<EVP_PKEY_free>()};
}

// The public half alone.
SharedKey public_half(const SharedKey& key) {
    unsigned char* der = nullptr;
    const int size = i2d_PUBKEY(key.get(), &der);
    const OpensslMemory<unsigned char> owned(der);
    const unsigned char* from = der;
    return {d2i_PUBKEY(nullptr, &from, size), OpensslFree<EVP_PKEY_free>()};
}

bool set_padding(EVP_PKEY_CTX* context, SchemeKind kind) {
    if (kind != SchemeKind::rsa_pss) return true;
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

// Signs with the key that it has, and remembers what it was asked for.
struct LocalSigner final : Signer {
    explicit LocalSigner(SharedKey key) : key_(std::move(key)) {}
    std::optional<Bytes> sign(const SchemeFacts& scheme, ByteView content) override {
        asked = &scheme;
        if (refuse) return std::nullopt;
        const DigestPtr digest(EVP_MD_CTX_new());
        EVP_PKEY_CTX* context = nullptr;
        Bytes made(1024);
        std::size_t size = made.size();
        REQUIRE(EVP_DigestSignInit_ex(digest.get(), &context, scheme.hash, nullptr, nullptr,
                                      key_.get(), nullptr) == 1);
        REQUIRE(set_padding(context, scheme.kind));
        REQUIRE(EVP_DigestSign(digest.get(), made.data(), &size, content.data(), content.size()) ==
                1);
        made.resize(size);
        return made;
    }
    const SchemeFacts* asked = nullptr;
    bool refuse = false;

 private:
    SharedKey key_;
};

struct Case {
    const char* type;
    const char* detail;
    const char* hash;  // as libssl names it
    SchemeKind kind;
    SignatureScheme scheme;
};
const std::vector<Case> kCases{
    {"RSA", nullptr, "SHA256", SchemeKind::rsa_pkcs1, SignatureScheme::rsa_pkcs1_sha256},
    {"RSA", nullptr, "SHA2-384", SchemeKind::rsa_pss, SignatureScheme::rsa_pss_sha384},
    {"EC", "P-256", "SHA2-256", SchemeKind::ecdsa, SignatureScheme::ecdsa_sha256},
    {"EC", "P-521", "SHA512", SchemeKind::ecdsa, SignatureScheme::ecdsa_sha512},
    {"ED25519", nullptr, nullptr, SchemeKind::ed25519, SignatureScheme::ed25519},
    {"ED448", nullptr, nullptr, SchemeKind::ed448, SignatureScheme::ed448},
};

// As libssl does it. Empty: refused.
Bytes sign_with(EVP_PKEY* key, const Case& each, ByteView content) {
    const DigestPtr digest(EVP_MD_CTX_new());
    EVP_PKEY_CTX* context = nullptr;
    if (EVP_DigestSignInit_ex(digest.get(), &context, each.hash, nullptr, nullptr, key, nullptr) !=
            1 ||
        !set_padding(context, each.kind)) {
        return {};
    }
    std::size_t size = 0;
    if (EVP_DigestSign(digest.get(), nullptr, &size, content.data(), content.size()) != 1) {
        return {};
    }
    Bytes made(size);
    if (EVP_DigestSign(digest.get(), made.data(), &size, content.data(), content.size()) != 1) {
        return {};
    }
    made.resize(size);
    return made;
}

bool verifies(EVP_PKEY* key, const Case& each, ByteView content, ByteView signature) {
    const DigestPtr digest(EVP_MD_CTX_new());
    EVP_PKEY_CTX* context = nullptr;
    return EVP_DigestVerifyInit_ex(digest.get(), &context, each.hash, nullptr, nullptr, key,
                                   nullptr) == 1 &&
           set_padding(context, each.kind) &&
           EVP_DigestVerify(digest.get(), signature.data(), signature.size(), content.data(),
                            content.size()) == 1;
}

}  // namespace

TEST_CASE("remote key: what OpenSSL signs with it is signed elsewhere, by the scheme it wanted") {
    const Bytes content(133, 0x42);
    for (const Case& each : kCases) {
        CAPTURE(each.type);
        const SharedKey whole = generate(each.type, each.detail);
        const SharedKey certified = public_half(whole);
        const auto signer = std::make_shared<LocalSigner>(whole);
        const KeyPtr key = make_remote_key(certified, signer);
        REQUIRE(key);
        const Bytes signature = sign_with(key.get(), each, content);
        REQUIRE(signer->asked != nullptr);
        CHECK(signer->asked->scheme == each.scheme);
        CHECK(verifies(certified.get(), each, content, signature));
    }
    ERR_clear_error();
}

TEST_CASE("remote key: it is the certificate's, and has no private half to give away") {
    for (const Case& each : kCases) {
        CAPTURE(each.type);
        const SharedKey whole = generate(each.type, each.detail);
        const KeyPtr key =
            make_remote_key(public_half(whole), std::make_shared<LocalSigner>(whole));
        REQUIRE(key);
        CHECK(EVP_PKEY_eq(key.get(), whole.get()) == 1);
        CHECK(EVP_PKEY_eq(whole.get(), key.get()) == 1);
        CHECK(EVP_PKEY_eq(key.get(), generate(each.type, each.detail).get()) != 1);
        CHECK(EVP_PKEY_get_bits(key.get()) == EVP_PKEY_get_bits(whole.get()));
        CHECK(EVP_PKEY_get_size(key.get()) == EVP_PKEY_get_size(whole.get()));
        CHECK(EVP_PKEY_is_a(key.get(), each.type) == 1);
        const BioPtr bio(BIO_new(BIO_s_mem()));
        CHECK(i2d_PrivateKey_bio(bio.get(), key.get()) != 1);
    }
    ERR_clear_error();
}

TEST_CASE("remote key: without a signature there is none") {
    const SharedKey whole = generate("EC", "P-256");
    const auto signer = std::make_shared<LocalSigner>(whole);
    signer->refuse = true;
    const KeyPtr key = make_remote_key(public_half(whole), signer);
    CHECK(sign_with(key.get(), kCases[2], Bytes(10, 1)).empty());
    const Case sha1{"EC", "P-256", "SHA1", SchemeKind::ecdsa, {}};
    signer->asked = nullptr;
    CHECK(sign_with(key.get(), sha1, Bytes(10, 1)).empty());
    CHECK(signer->asked == nullptr);
    ERR_clear_error();
}

TEST_CASE("remote key: it does not decrypt") {
    const SharedKey whole = generate("RSA", nullptr);
    const KeyPtr key = make_remote_key(public_half(whole), std::make_shared<LocalSigner>(whole));
    const std::unique_ptr<EVP_PKEY_CTX, OpensslFree<EVP_PKEY_CTX_free>> context(
        EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
    CHECK(EVP_PKEY_decrypt_init(context.get()) != 1);
    CHECK(EVP_PKEY_sign_init(context.get()) != 1);
    ERR_clear_error();
}
