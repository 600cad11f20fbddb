// SPDX-License-Identifier: MIT
#include "keys/identity.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include <algorithm>

#include "engine/pem.h"
#include "engine/verify.h"
#include "keys/openssl_key.h"
#include "keys/token_key.h"
#include "keys/tpm_key.h"
#include "keys/trusted_file.h"

namespace tlsfs::keys {
namespace {

using Where = KeyPlace::Where;

Result<Bytes> as_der(X509* certificate) {
    unsigned char* der = nullptr;
    const int size = i2d_X509(certificate, &der);
    const OpensslMemory<unsigned char> owned(der);
    if (size <= 0) return failure(EINVAL, "a certificate that cannot be written as DER");
    return Bytes(der, der + size);
}

Result<std::vector<Bytes>> chain_as_der(const std::vector<X509Ptr>& certificates) {
    if (certificates.size() > kMaxChainLength) {
        return failure(EINVAL, fmt::format("more than {} certificates", kMaxChainLength));
    }
    std::vector<Bytes> chain;
    std::size_t size = 0;
    for (const X509Ptr& certificate : certificates) {
        auto der = as_der(certificate.get());
        if (!der) return tl::unexpected(der.error());
        size += der->size() + 3;
        chain.push_back(std::move(*der));
    }
    if (size > kMaxChain) {
        return failure(EINVAL, fmt::format("certificates of more than {} bytes", kMaxChain));
    }
    return chain;
}

// The verb that engine/pem names it by becomes the path.
tl::unexpected<Error> in_file(const std::string& path, Error error) {
    for (const char* verb : {"cert: ", "key: "}) {
        if (error.text.starts_with(verb)) error.text.erase(0, std::string_view(verb).size());
    }
    return failure(error.code, path + ": " + error.text);
}

Result<> load_chain(const std::string& path, Credential& into) {
    const auto pem = read_trusted_file(path, Secrecy::open);
    if (!pem) return tl::unexpected(pem.error());
    const auto certificates = parse_chain(*pem);
    if (!certificates) return in_file(path, certificates.error());
    auto chain = chain_as_der(*certificates);
    if (!chain) return in_file(path, chain.error());
    into.chain = std::move(*chain);
    X509* leaf = certificates->front().get();
    const auto digest = certificate_digest(leaf);
    if (!digest) throw std::bad_alloc();
    into.leaf = *digest;
    into.certified.reset(X509_get_pubkey(leaf));
    if (!into.certified) return failure(EINVAL, path + ": a public key that is not known");
    if (auto known = check_kind(into.certified.get()); !known) return in_file(path, known.error());
    return {};
}

Result<std::shared_ptr<SigningKey>> load_key_file(const std::string& path, EVP_PKEY* certified) {
    const auto pem = read_trusted_file(path, Secrecy::secret);
    if (!pem) return tl::unexpected(pem.error());
    auto key = parse_key(*pem);
    if (!key) return in_file(path, key.error());
    if (EVP_PKEY_eq(certified, key->get()) != 1) {
        ERR_clear_error();
        return failure(EINVAL, path + ": it does not fit the certificate");
    }
    return std::make_shared<OpensslKey>(std::move(*key), nullptr, OpensslKey::Speed::fast);
}

Result<std::shared_ptr<SigningKey>> load_key(const KeyPlace& key, EVP_PKEY* certified) {
    switch (key.where) {
        case Where::file:
            return load_key_file(key.place, certified);
        case Where::pkcs11:
            return TokenKey::make(key.place);
        case Where::tpm:
            return open_tpm_key(key.place);
    }
    return failure(EINVAL, "no place of a key");
}

}  // namespace

Result<std::shared_ptr<const Credential>> load_credential(const IdentityFile& file) {
    auto credential = std::make_shared<Credential>();
    if (auto loaded = load_chain(file.cert, *credential); !loaded) {
        return tl::unexpected(loaded.error());
    }
    auto key = load_key(file.key, credential->certified.get());
    if (!key) return tl::unexpected(key.error());
    credential->key = std::move(*key);
    return credential;
}

Result<Bytes> Credential::sign(const SchemeFacts& scheme, ByteView content) const {
    if (!fits(certified.get(), scheme.kind)) {
        return failure(EINVAL, fmt::format("the key is none for {}", scheme.name));
    }
    auto signature = key->sign(scheme, content);
    if (signature && key->is_slow() && !verifies(certified.get(), scheme, content, *signature)) {
        return failure(EINVAL, "the token's signature is not one by the certificate's key");
    }
    return signature;
}

}  // namespace tlsfs::keys
