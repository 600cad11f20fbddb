// SPDX-License-Identifier: MIT
#include "support/certificates.h"

#include <fmt/format.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <functional>
#include <stdexcept>

namespace tlsfs::test {
namespace {

void need(bool done) {
    if (!done) throw std::runtime_error("OpenSSL could not make a certificate for the tests");
}

std::string text_of(const std::function<bool(BIO*)>& write) {
    const BioPtr bio(BIO_new(BIO_s_mem()));
    need(write(bio.get()));
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    return {text, static_cast<std::size_t>(size)};
}

void add_extension(X509* certificate, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    need(extension != nullptr);
    need(X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

std::string alternative_names(const Wanted& wanted) {
    std::string names;
    const auto add = [&](const char* kind, const std::vector<std::string>& values) {
        for (const std::string& value : values)
            names += (names.empty() ? "" : ",") + (kind + value);
    };
    add("DNS:", wanted.dns);
    add("IP:", wanted.ips);
    add("URI:", wanted.uris);
    add("email:", wanted.emails);
    return names;
}

}  // namespace

std::string Certificate::pem() const {
    return text_of([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate.get()) == 1; });
}

std::string Certificate::key_pem() const {
    return text_of([&](BIO* bio) {
        return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr,
                                             nullptr) == 1;
    });
}

std::string Certificate::encrypted_key_pem() const {
    return text_of([&](BIO* bio) {
        return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), EVP_aes_128_cbc(), "secret", 6,
                                             nullptr, nullptr) == 1;
    });
}

std::string Certificate::traditional_key_pem() const {
    return text_of([&](BIO* bio) {
        return PEM_write_bio_PrivateKey_traditional(bio, key.get(), nullptr, nullptr, 0, nullptr,
                                                    nullptr) == 1;
    });
}

std::string Certificate::encrypted_traditional_pem() const {
    std::string passphrase = "secret";
    return text_of([&](BIO* bio) {
        return PEM_write_bio_PrivateKey_traditional(bio, key.get(), EVP_aes_128_cbc(), nullptr, 0,
                                                    nullptr, passphrase.data()) == 1;
    });
}

Pin Certificate::pin(Pin::Of of) const {
    Pin pin;
    pin.of = of;
    if (of == Pin::Of::certificate) {
        need(X509_digest(certificate.get(), EVP_sha256(), pin.sha256.data(), nullptr) == 1);
        return pin;
    }
    unsigned char* der = nullptr;
    const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate.get()), &der);
    need(size > 0);
    need(EVP_Digest(der, static_cast<std::size_t>(size), pin.sha256.data(), nullptr, EVP_sha256(),
                    nullptr) == 1);
    OPENSSL_free(der);
    return pin;
}

Certificate make_certificate(const Wanted& wanted, const Certificate* issuer) {
    static std::atomic<long> serial = 1;
    Certificate made{X509Ptr(X509_new()), KeyPtr(EVP_EC_gen("P-256"))};
    need(made.certificate != nullptr && made.key != nullptr);
    X509* certificate = made.certificate.get();
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), wanted.valid_from);
    X509_gmtime_adj(X509_getm_notAfter(certificate), wanted.valid_for);
    X509_NAME* name = X509_get_subject_name(certificate);
    need(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(wanted.subject.data()),
                                    static_cast<int>(wanted.subject.size()), -1, 0) == 1);
    X509_set_issuer_name(
        certificate, issuer != nullptr ? X509_get_subject_name(issuer->certificate.get()) : name);
    X509_set_pubkey(certificate, made.key.get());
    add_extension(certificate, NID_basic_constraints,
                  wanted.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (wanted.authority) {
        add_extension(certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
    } else if (const std::string names = alternative_names(wanted); !names.empty()) {
        add_extension(certificate, NID_subject_alt_name, names);
    }
    EVP_PKEY* signer = issuer != nullptr ? issuer->key.get() : made.key.get();
    need(X509_sign(certificate, signer, EVP_sha256()) > 0);
    return made;
}

Certificate make_authority(const std::string& subject) {
    Wanted wanted;
    wanted.subject = subject;
    wanted.dns.clear();
    wanted.authority = true;
    return make_certificate(wanted, nullptr);
}

std::string make_crl(const Certificate& issuer, const Certificate* revoked) {
    const CrlPtr crl(X509_CRL_new());
    X509_CRL_set_version(crl.get(), X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl.get(), X509_get_subject_name(issuer.certificate.get()));
    ASN1_TIME* when = ASN1_TIME_new();
    X509_gmtime_adj(when, -60);
    X509_CRL_set1_lastUpdate(crl.get(), when);
    X509_gmtime_adj(when, 86400);
    X509_CRL_set1_nextUpdate(crl.get(), when);
    if (revoked != nullptr) {
        X509_REVOKED* entry = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked->certificate.get()));
        X509_gmtime_adj(when, -60);
        X509_REVOKED_set_revocationDate(entry, when);
        X509_CRL_add0_revoked(crl.get(), entry);
    }
    ASN1_TIME_free(when);
    X509_CRL_sort(crl.get());
    need(X509_CRL_sign(crl.get(), issuer.key.get(), EVP_sha256()) > 0);
    return text_of([&](BIO* bio) { return PEM_write_bio_X509_CRL(bio, crl.get()) == 1; });
}

SecretBytes secret(std::string_view text) {
    return {text.begin(), text.end()};
}

}  // namespace tlsfs::test
