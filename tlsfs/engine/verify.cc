// SPDX-License-Identifier: MIT
#include "engine/verify.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>

namespace tlsfs {
namespace {

using Digest = std::array<std::uint8_t, 32>;

std::optional<Digest> certificate_digest(X509* leaf) {
    Digest digest{};
    unsigned size = 0;
    if (X509_digest(leaf, EVP_sha256(), digest.data(), &size) != 1) return std::nullopt;
    return digest;
}

std::optional<Digest> public_key_digest(X509* leaf) {
    unsigned char* der = nullptr;
    const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &der);
    if (size <= 0) return std::nullopt;
    Digest digest{};
    const bool done = EVP_Digest(der, static_cast<std::size_t>(size), digest.data(), nullptr,
                                 EVP_sha256(), nullptr) == 1;
    OPENSSL_free(der);
    if (!done) return std::nullopt;
    return digest;
}

int errno_for(int verify_error) {
    switch (verify_error) {
        case X509_V_ERR_CERT_HAS_EXPIRED:
        case X509_V_ERR_CERT_NOT_YET_VALID:
        case X509_V_ERR_CRL_HAS_EXPIRED:
        case X509_V_ERR_CRL_NOT_YET_VALID:
            return EKEYEXPIRED;
        case X509_V_ERR_CERT_REVOKED:
            return EKEYREVOKED;
        default:
            return EKEYREJECTED;
    }
}

std::string wanted_name(X509_STORE_CTX* chain) {
    X509_VERIFY_PARAM* wanted = X509_STORE_CTX_get0_param(chain);
    if (const char* host = X509_VERIFY_PARAM_get0_host(wanted, 0)) return host;
    char* ip = X509_VERIFY_PARAM_get1_ip_asc(wanted);
    std::string text = ip == nullptr ? "" : ip;
    OPENSSL_free(ip);
    return text;
}

Error refusal_of(X509_STORE_CTX* chain) {
    const int code = X509_STORE_CTX_get_error(chain);
    std::string text =
        fmt::format("the certificate was not accepted: {}", X509_verify_cert_error_string(code));
    if (code == X509_V_ERR_HOSTNAME_MISMATCH || code == X509_V_ERR_IP_ADDRESS_MISMATCH) {
        text += fmt::format(", wanted {}", wanted_name(chain));
    }
    if (X509* at_fault = X509_STORE_CTX_get_current_cert(chain)) {
        text += fmt::format(" (depth {}: {})", X509_STORE_CTX_get_error_depth(chain),
                            subject(at_fault));
    }
    return {errno_for(code), std::move(text)};
}

bool check_pins(X509_STORE_CTX* chain, PeerCheck& check) {
    X509* leaf = X509_STORE_CTX_get0_cert(chain);
    if (matches_pin(leaf, check.policy.pins)) {
        X509_STORE_CTX_set_error(chain, X509_V_OK);
        return true;
    }
    X509_STORE_CTX_set_error(chain, X509_V_ERR_CERT_UNTRUSTED);
    check.refusal = Error{EKEYREJECTED,
                          fmt::format("the certificate was not accepted: no pin matches sha256:{}",
                                      fingerprint(leaf))};
    return false;
}

}  // namespace

int peer_check_index() {
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
}

int check_peer(X509_STORE_CTX* chain, void*) {
    const auto* ssl =
        static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
    auto* check = static_cast<PeerCheck*>(SSL_get_ex_data(ssl, peer_check_index()));
    if (check == nullptr) return 0;
    switch (check->policy.mode) {
        case VerifyPolicy::Mode::none:
            X509_STORE_CTX_set_error(chain, X509_V_OK);
            return 1;
        case VerifyPolicy::Mode::pin:
            return check_pins(chain, *check) ? 1 : 0;
        case VerifyPolicy::Mode::system:
        case VerifyPolicy::Mode::ca:
            if (X509_verify_cert(chain) == 1) return 1;
            check->refusal = refusal_of(chain);
            return 0;
        case VerifyPolicy::Mode::unset:
            break;
    }
    return 0;  // fail closed
}

bool is_ip_address(const std::string& name) {
    std::array<unsigned char, sizeof(in6_addr)> address{};
    return inet_pton(AF_INET, name.c_str(), address.data()) == 1 ||
           inet_pton(AF_INET6, name.c_str(), address.data()) == 1;
}

Result<> require_name(SSL* ssl, const std::string& name) {
    X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl);
    if (is_ip_address(name)) {
        if (X509_VERIFY_PARAM_set1_ip_asc(wanted, name.c_str()) == 1) return {};
        return failure(EINVAL, fmt::format("'{}' cannot be looked for in a certificate", name));
    }
    // RFC 6125: the subject's common name is no host name, and a wildcard is a whole label.
    X509_VERIFY_PARAM_set_hostflags(
        wanted, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    // OpenSSL takes a leading dot for "any name below".
    if (!name.starts_with('.') && X509_VERIFY_PARAM_set1_host(wanted, name.c_str(), 0) == 1)
        return {};
    return failure(EINVAL, fmt::format("'{}' is no host name", name));
}

bool matches_pin(X509* leaf, const std::vector<Pin>& pins) {
    const auto by_certificate = certificate_digest(leaf);
    const auto by_key = public_key_digest(leaf);
    return std::ranges::any_of(pins, [&](const Pin& pin) {
        const auto& digest = pin.of == Pin::Of::certificate ? by_certificate : by_key;
        return digest && *digest == pin.sha256;
    });
}

std::string fingerprint(X509* certificate) {
    const auto digest = certificate_digest(certificate);
    return digest ? fmt::format("{:02x}", fmt::join(*digest, "")) : std::string();
}

std::string subject(X509* certificate) {
    const BioPtr bio(BIO_new(BIO_s_mem()));
    X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : std::string();
}

}  // namespace tlsfs
