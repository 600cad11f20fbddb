// SPDX-License-Identifier: MIT
#include "engine/verify.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>

#include "core/bounds.h"
#include "engine/client_names.h"
#include "engine/key_bounds.h"

namespace tlsfs {
namespace {

std::optional<Sha256Digest> public_key_digest(X509* leaf) {
    unsigned char* der = nullptr;
    const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &der);
    if (size <= 0) return std::nullopt;
    Sha256Digest digest{};
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

// Negative in the past.
std::time_t seconds_until(const ASN1_TIME* time) {
    int days = 0, seconds = 0;
    if (ASN1_TIME_diff(&days, &seconds, nullptr, time) != 1) return 0;
    return std::time_t{days} * 86400 + seconds;
}

// Before anything is computed with the keys that the peer has sent.
bool check_keys(X509_STORE_CTX* chain, PeerCheck& check) {
    STACK_OF(X509)* sent = X509_STORE_CTX_get0_untrusted(chain);
    const auto fits = [&](X509* certificate) {
        auto checked = check_peer_key(X509_get0_pubkey(certificate));
        if (checked) return true;
        X509_STORE_CTX_set_error(chain, X509_V_ERR_CERT_REJECTED);
        check.refusal = std::move(checked.error());
        return false;
    };
    if (!fits(X509_STORE_CTX_get0_cert(chain))) return false;
    for (int i = 0; i < sk_X509_num(sent); ++i) {
        if (!fits(sk_X509_value(sent, i))) return false;
    }
    return true;
}

// OpenSSL also wants a revocation list for the certificate that a chain ends in. That one is
// trusted by itself, and who issued it may be unknown.
int forgive_missing_list_of_anchor(int good, X509_STORE_CTX* chain) {
    if (good == 1 || X509_STORE_CTX_get_error(chain) != X509_V_ERR_UNABLE_TO_GET_CRL) return good;
    const int last = sk_X509_num(X509_STORE_CTX_get0_chain(chain)) - 1;
    const int depth = X509_STORE_CTX_get_error_depth(chain);
    if (depth == 0 || depth < last) return 0;
    X509_STORE_CTX_set_error(chain, X509_V_OK);
    return 1;
}

bool check_chain(X509_STORE_CTX* chain, PeerCheck& check) {
    X509_STORE_CTX_set_verify_cb(chain, forgive_missing_list_of_anchor);
    if (X509_verify_cert(chain) == 1) return true;
    check.refusal = refusal_of(chain);
    return false;
}

bool check_policy(X509_STORE_CTX* chain, PeerCheck& check) {
    switch (check.policy.mode) {
        case VerifyPolicy::Mode::none:
            X509_STORE_CTX_set_error(chain, X509_V_OK);
            return true;
        case VerifyPolicy::Mode::pin:
            return check_pins(chain, check);
        case VerifyPolicy::Mode::system:
        case VerifyPolicy::Mode::ca:
            return check_chain(chain, check);
        case VerifyPolicy::Mode::unset:
            break;
    }
    return false;  // fail closed
}

bool check_allowed(X509_STORE_CTX* chain, PeerCheck& check) {
    X509* leaf = X509_STORE_CTX_get0_cert(chain);
    if (is_allowed(leaf, check.allow)) return true;
    X509_STORE_CTX_set_error(chain, X509_V_ERR_CERT_REJECTED);
    check.refusal =
        Error{EKEYREJECTED, fmt::format("the certificate was not accepted: no allow rule matches "
                                        "({})",
                                        subject(leaf))};
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
    const bool accepted =
        check_keys(chain, *check) && check_policy(chain, *check) && check_allowed(chain, *check);
    return accepted ? 1 : 0;
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

std::time_t verified_until(const SSL* ssl) {
    const std::time_t now = std::time(nullptr);
    std::time_t until = now + std::chrono::seconds(bounds::kVerifiedFor).count();
    STACK_OF(X509)* chain = SSL_get0_verified_chain(ssl);
    for (int i = 0; i < sk_X509_num(chain); ++i) {
        until = std::min(until, now + seconds_until(X509_get0_notAfter(sk_X509_value(chain, i))));
    }
    return until;
}

void limit_session(const SSL* ssl, SSL_SESSION* session) {
    std::time_t left = verified_until(ssl) - std::time(nullptr);
    // A resumed session has no chain, but still the certificate.
    X509* peer = SSL_get0_peer_certificate(ssl);
    if (peer != nullptr && SSL_session_reused(ssl) == 1) {
        left = std::min(left, seconds_until(X509_get0_notAfter(peer)));
    }
    const auto most = static_cast<long>(std::max<std::time_t>(left, 0));
    if (SSL_SESSION_get_timeout(session) > most) SSL_SESSION_set_timeout(session, most);
}

std::optional<Sha256Digest> certificate_digest(X509* certificate) {
    Sha256Digest digest{};
    unsigned size = 0;
    if (X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) return std::nullopt;
    return digest;
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
