// SPDX-License-Identifier: MIT
#include "tls.h"

#include <openssl/err.h>

#include <string_view>

#include "fail.h"

namespace bench {
namespace {

// What OpenSSL 3.0 on both sides agrees on if it is not told anything.
constexpr const char* kSuite = "TLS_AES_256_GCM_SHA384";

SslContextPtr common_context(const SSL_METHOD* method, const std::string& groups) {
    SslContextPtr context(SSL_CTX_new(method));
    if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context.get(), kSuite) != 1 ||
        SSL_CTX_set1_groups_list(context.get(), groups.c_str()) != 1)
        fail_tls("SSL_CTX");
    return context;
}

}  // namespace

void fail_tls(const std::string& what) {
    ERR_print_errors_fp(stderr);
    fail(what);
}

SslContextPtr server_context(const std::string& chain, const std::string& key,
                             const std::string& groups) {
    auto context = common_context(TLS_server_method(), groups);
    if (SSL_CTX_use_certificate_chain_file(context.get(), chain.c_str()) != 1) fail_tls(chain);
    if (SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) != 1)
        fail_tls(key);
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);  // tickets do it
    return context;
}

SslContextPtr client_context(const std::string& ca) {
    auto context = common_context(TLS_client_method(), "X25519");
    if (!ca.empty()) {
        if (SSL_CTX_load_verify_file(context.get(), ca.c_str()) != 1) fail_tls(ca);
        SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    }
    return context;
}

bool is_as_agreed(SSL* ssl) {
    return SSL_version(ssl) == TLS1_3_VERSION &&
           std::string_view(SSL_get_cipher_name(ssl)) == kSuite;
}

}  // namespace bench
