// SPDX-License-Identifier: MIT
#include "tlsstat_chain.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <limits>
#include <memory>
#include <string_view>

#include "tlsstat_tree.h"

namespace tlsfs::cmd {
namespace {

constexpr std::size_t kMaxCertificates = 100;
constexpr std::size_t kMaxNames = 100;  // of one certificate

template <auto Free>
struct Deleter {
    template <class Object>
    void operator()(Object* object) const {
        Free(object);
    }
};
using Bio = std::unique_ptr<BIO, Deleter<BIO_free>>;
using X509Ptr = std::unique_ptr<X509, Deleter<X509_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>>;

// Every string of a certificate passes here. A NUL or a newline in a name is shown, not obeyed.
std::string escaped(std::string_view raw) {
    std::string text;
    for (const char c : raw) {
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            text += c;
            continue;
        }
        std::array<char, 8> code{};
        std::snprintf(code.data(), code.size(), "\\x%02x", static_cast<unsigned char>(c));
        text += code.data();
    }
    return text;
}

std::string escaped(const ASN1_STRING* string) {
    const auto* bytes = reinterpret_cast<const char*>(ASN1_STRING_get0_data(string));
    return escaped({bytes, static_cast<std::size_t>(ASN1_STRING_length(string))});
}

std::string name_text(const X509_NAME* name) {
    const Bio out(BIO_new(BIO_s_mem()));
    // RFC 2253 escapes control characters and what is not ASCII.
    if (X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253) < 0) return "?";
    const char* text = nullptr;
    const long size = BIO_get_mem_data(out.get(), &text);
    return plain({text, static_cast<std::size_t>(size)});
}

std::string time_text(const ASN1_TIME* time) {
    std::tm parts{};
    std::array<char, 64> text{};
    if (ASN1_TIME_to_tm(time, &parts) != 1) return "?";
    std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
    return text.data();
}

// From now on; far away is as far as a long reaches.
long seconds_until(const ASN1_TIME* time) {
    int days = 0;
    int seconds = 0;
    if (ASN1_TIME_diff(&days, &seconds, nullptr, time) != 1) return 0;
    return static_cast<long>(days) * 86400 + seconds;
}

std::string address_text(const ASN1_OCTET_STRING* address) {
    const int size = ASN1_STRING_length(address);
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (size != 4 && size != 16) return "?";
    const int family = size == 4 ? AF_INET : AF_INET6;
    inet_ntop(family, ASN1_STRING_get0_data(address), text.data(), text.size());
    return text.data();
}

std::string alternative_name(const GENERAL_NAME* name) {
    int type = 0;
    const void* value = GENERAL_NAME_get0_value(name, &type);
    switch (type) {
        case GEN_DNS:
            return "DNS:" + escaped(static_cast<const ASN1_STRING*>(value));
        case GEN_EMAIL:
            return "email:" + escaped(static_cast<const ASN1_STRING*>(value));
        case GEN_URI:
            return "URI:" + escaped(static_cast<const ASN1_STRING*>(value));
        case GEN_IPADD:
            return "IP:" + address_text(static_cast<const ASN1_OCTET_STRING*>(value));
        case GEN_DIRNAME:
            return "dir:" + name_text(static_cast<const X509_NAME*>(value));
        default:
            return "other";
    }
}

std::vector<std::string> alternative_names(const X509* certificate) {
    std::vector<std::string> words;
    const Names names(static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        if (words.size() == kMaxNames) {
            words.emplace_back("...");
            break;
        }
        words.push_back(alternative_name(sk_GENERAL_NAME_value(names.get(), i)));
    }
    return words;
}

std::string key_text(const X509* certificate) {
    const EVP_PKEY* key = X509_get0_pubkey(certificate);
    const char* type = key == nullptr ? nullptr : EVP_PKEY_get0_type_name(key);
    if (type == nullptr) return "?";
    std::array<char, 80> group{};
    std::size_t size = 0;
    if (EVP_PKEY_is_a(key, "EC") == 1 &&
        EVP_PKEY_get_group_name(key, group.data(), group.size(), &size) == 1) {
        return escaped(type) + " " + escaped(group.data());
    }
    return escaped(type) + " " + std::to_string(EVP_PKEY_get_bits(key));
}

std::string digest_text(const X509* certificate) {
    std::array<unsigned char, 32> digest{};
    unsigned size = 0;
    if (X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) return "?";
    std::string text;
    for (const unsigned char byte : digest) {
        std::array<char, 3> two{};
        std::snprintf(two.data(), two.size(), "%02x", byte);
        text += two.data();
    }
    return text;
}

CertificateWords in_words(const X509* certificate) {
    CertificateWords words;
    words.subject = name_text(X509_get_subject_name(certificate));
    words.issuer = name_text(X509_get_issuer_name(certificate));
    const ASN1_TIME* begin = X509_get0_notBefore(certificate);
    const ASN1_TIME* end = X509_get0_notAfter(certificate);
    words.not_before = time_text(begin);
    words.not_after = time_text(end);
    words.not_yet_valid = seconds_until(begin) > 0;
    words.seconds_left = seconds_until(end);
    words.names = alternative_names(certificate);
    words.key = key_text(certificate);
    words.sha256 = digest_text(certificate);
    return words;
}

}  // namespace

std::vector<CertificateWords> chain_in_words(const std::string& pem) {
    std::vector<CertificateWords> chain;
    if (pem.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) return chain;
    const Bio in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    while (chain.size() < kMaxCertificates) {
        const X509Ptr certificate(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
        if (!certificate) break;
        chain.push_back(in_words(certificate.get()));
    }
    ERR_clear_error();
    return chain;
}

}  // namespace tlsfs::cmd
