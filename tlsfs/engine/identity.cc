// SPDX-License-Identifier: MIT
#include "engine/identity.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "engine/verify.h"

namespace tlsfs {
namespace {

struct StackFree {
    void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
};
using StackPtr = std::unique_ptr<STACK_OF(X509), StackFree>;  // does not own the certificates

Result<SharedIdentity> parse_identity(const std::string& name, FoundIdentity found) {
    auto identity = std::make_shared<NamedIdentity>();
    identity->name = name;
    identity->slow = found.slow;
    identity->der = std::move(found.chain);
    ERR_clear_error();
    for (const Bytes& der : identity->der) {
        const unsigned char* from = der.data();
        X509Ptr certificate(d2i_X509(nullptr, &from, static_cast<long>(der.size())));
        if (!certificate || from != der.data() + der.size()) {
            ERR_clear_error();
            return failure(EPROTO, fmt::format("identity {}: no certificate", name));
        }
        identity->chain.push_back(std::move(certificate));
    }
    X509* leaf = identity->chain.front().get();
    const auto digest = certificate_digest(leaf);
    if (!digest) return failure(ENOMEM, fmt::format("identity {}: no digest", name));
    identity->leaf = *digest;
    identity->certified.reset(X509_get_pubkey(leaf), OpensslFree<EVP_PKEY_free>());
    if (!identity->certified) {
        ERR_clear_error();
        return failure(EPROTO, fmt::format("identity {}: a key that is not known", name));
    }
    return identity;
}

StackPtr issuers_of(const NamedIdentity& identity) {
    StackPtr stack(sk_X509_new_null());
    for (const X509Ptr& issuer : std::span(identity.chain).subspan(1)) {
        if (!stack || sk_X509_push(stack.get(), issuer.get()) == 0) throw std::bad_alloc();
    }
    return stack;
}

bool bears(const NamedIdentity& identity, const char* name) {
    return X509_check_host(identity.chain.front().get(), name, std::strlen(name), 0, nullptr) == 1;
}

// How a suite of TLS 1.2 names those who sign with such a key.
int suite_authentication(const EVP_PKEY* key) {
    return EVP_PKEY_is_a(key, "RSA") == 1 ? NID_auth_rsa : NID_auth_ecdsa;
}

// In TLS 1.2 the client says by its suites, too, which keys it takes.
bool has_suite_for(SSL* ssl, const EVP_PKEY* key) {
    if (SSL_is_server(ssl) == 0 || SSL_version(ssl) >= TLS1_3_VERSION) return true;
    const STACK_OF(SSL_CIPHER)* theirs = SSL_get_client_ciphers(ssl);
    const STACK_OF(SSL_CIPHER)* ours = SSL_get_ciphers(ssl);
    for (int i = 0; i < sk_SSL_CIPHER_num(theirs); ++i) {
        const SSL_CIPHER* suite = sk_SSL_CIPHER_value(theirs, i);
        if (SSL_CIPHER_get_auth_nid(suite) == suite_authentication(key) &&
            sk_SSL_CIPHER_find(const_cast<STACK_OF(SSL_CIPHER)*>(ours), suite) >= 0) {
            return true;
        }
    }
    return false;
}

bool peer_can_verify(SSL* ssl, const NamedIdentity& identity) {
    if (!has_suite_for(ssl, identity.certified.get())) return false;
    const StackPtr issuers = issuers_of(identity);
    const int flags =
        SSL_check_chain(ssl, identity.chain.front().get(), identity.certified.get(), issuers.get());
    ERR_clear_error();
    // A server says in its request whose certificates it takes.
    const int wanted = CERT_PKEY_VALID | (SSL_is_server(ssl) == 0 ? CERT_PKEY_ISSUER_NAME : 0);
    return (flags & wanted) == wanted;
}

// A signature of tlskeyd's for one handshake.
class NamedSigner final : public Signer {
 public:
    NamedSigner(SharedIdentity identity, SigningTerms& terms)
        : identity_(std::move(identity)), terms_(terms) {}

    std::optional<Bytes> sign(const SchemeFacts& scheme, ByteView content) override {
        auto signature = ask(scheme, content);
        if (signature) return std::move(*signature);
        terms_.failure =
            Error{signature.error().code,
                  fmt::format("identity {}: {}", identity_->name, signature.error().text)};
        return std::nullopt;
    }

 private:
    Result<Bytes> ask(const SchemeFacts& scheme, ByteView content) {
        auto taken = take_apart(terms_.role, content);
        if (!taken) return failure(EINVAL, "what is to be signed is not understood");
        SignOrder order{identity_->leaf, scheme.scheme, terms_.peer.substr(0, kMaxPeerText),
                        std::move(*taken)};
        auto answer =
            terms_.client->ask({terms_.role, terms_.owner, identity_->name, std::move(order)});
        if (!answer) return answer;
        return parse_signature(*answer);
    }

    const SharedIdentity identity_;
    SigningTerms& terms_;
};

}  // namespace

Result<SharedIdentity> Identities::find(const std::string& name, Role role, uid_t owner) {
    const auto answer = client_.ask({role, owner, name, {}});
    auto found = answer ? parse_found(*answer) : tl::unexpected(answer.error());
    if (!found) {
        return failure(found.error().code,
                       fmt::format("identity {}: {}", name, found.error().text));
    }
    {
        const std::scoped_lock guard(lock_);
        const auto known = known_.find(name);
        if (known != known_.end() && known->second->der == found->chain &&
            known->second->slow == found->slow) {
            return known->second;
        }
    }
    auto parsed = parse_identity(name, std::move(*found));
    if (!parsed) return parsed;
    const std::scoped_lock guard(lock_);
    if (known_.size() >= kMaxKnown) known_.clear();
    known_[name] = *parsed;
    return parsed;
}

const SharedIdentity& choose_identity(SSL* ssl, const std::vector<SharedIdentity>& identities) {
    const char* wanted =
        SSL_is_server(ssl) == 1 ? SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) : nullptr;
    const auto named = [&](const SharedIdentity& identity) {
        return wanted == nullptr || bears(*identity, wanted);
    };
    const bool any_named = std::ranges::any_of(identities, named);
    const SharedIdentity* first = nullptr;
    for (const SharedIdentity& identity : identities) {
        if (any_named && !named(identity)) continue;
        if (peer_can_verify(ssl, *identity)) return identity;
        if (first == nullptr) first = &identity;
    }
    return *first;
}

bool use_identity(SSL* ssl, const SharedIdentity& identity, SigningTerms& terms) {
    const KeyPtr key =
        make_remote_key(identity->certified, std::make_shared<NamedSigner>(identity, terms));
    const StackPtr issuers = issuers_of(*identity);
    return key && SSL_use_cert_and_key(ssl, identity->chain.front().get(), key.get(), issuers.get(),
                                       1) == 1;
}

}  // namespace tlsfs
