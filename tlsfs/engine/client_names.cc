// SPDX-License-Identifier: MIT
#include "engine/client_names.h"

#include <openssl/x509v3.h>

#include <algorithm>
#include <optional>
#include <string>

namespace tlsfs {
namespace {

using Kind = AllowRule::Kind;

bool any_matches(std::span<const AllowRule> rules, Kind kind, std::string_view name) {
    return std::ranges::any_of(
        rules, [&](const AllowRule& rule) { return rule.kind == kind && matches(rule, name); });
}

// A certificate may have several; the last one is the most specific.
std::optional<std::string> common_name(X509* certificate) {
    const X509_NAME* subject = X509_get_subject_name(certificate);
    int last = -1;
    for (int at = -1; (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0;)
        last = at;
    if (last < 0) return std::nullopt;
    unsigned char* utf8 = nullptr;
    const int size =
        ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, last)));
    const OpensslMemory<unsigned char> owned(utf8);
    if (size < 0) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
}

std::optional<Kind> kind_of(const GENERAL_NAME* name) {
    switch (name->type) {
        case GEN_DNS:
            return Kind::dns;
        case GEN_URI:
            return Kind::uri;
        case GEN_EMAIL:
            return Kind::email;
        default:
            return std::nullopt;
    }
}

bool any_alternative_matches(X509* certificate, std::span<const AllowRule> rules) {
    const std::unique_ptr<GENERAL_NAMES, OpensslFree<GENERAL_NAMES_free>> names(
        static_cast<GENERAL_NAMES*>(
            X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
    for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
        const auto kind = kind_of(name);
        if (!kind) continue;
        // With its length: a NUL in it is a character that no pattern has.
        const ASN1_IA5STRING* text = name->d.ia5;
        const std::string_view view(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                    static_cast<std::size_t>(ASN1_STRING_length(text)));
        if (any_matches(rules, *kind, view)) return true;
    }
    return false;
}

}  // namespace

bool is_allowed(X509* certificate, std::span<const AllowRule> rules) {
    if (rules.empty()) return true;
    const auto name = common_name(certificate);
    return (name && any_matches(rules, Kind::common_name, *name)) ||
           any_alternative_matches(certificate, rules);
}

}  // namespace tlsfs
