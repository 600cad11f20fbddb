// SPDX-License-Identifier: MIT
#include "engine/key_bounds.h"

#include <fmt/format.h>
#include <openssl/core_names.h>

#include <algorithm>
#include <array>

#include "core/bounds.h"

namespace tlsfs {
namespace {

bool is_rsa(const EVP_PKEY* key) {
    return EVP_PKEY_is_a(key, "RSA") == 1 || EVP_PKEY_is_a(key, "RSA-PSS") == 1;
}

bool has_own_curve(const EVP_PKEY* key) {
    if (EVP_PKEY_is_a(key, "EC") != 1) return false;
    std::array<char, 80> name{};
    std::size_t size = 0;
    int explicit_parameters = 0;
    EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
                           &explicit_parameters);
    return explicit_parameters != 0 ||
           EVP_PKEY_get_group_name(key, name.data(), name.size(), &size) != 1 || size == 0;
}

// Kinds whose keys have one size each.
bool has_fixed_size(const EVP_PKEY* key) {
    constexpr std::array kKinds{"ED25519", "ED448", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"};
    return std::ranges::any_of(kKinds,
                               [&](const char* kind) { return EVP_PKEY_is_a(key, kind) == 1; });
}

}  // namespace

Result<> check_own_key(const EVP_PKEY* key) {
    if (is_rsa(key)) {
        const int bits = EVP_PKEY_get_bits(key);
        if (bits >= bounds::kMinRsaBits && bits <= bounds::kMaxRsaBits) return {};
        return failure(EINVAL, fmt::format("key: RSA of {} bits; {} to {} are taken", bits,
                                           bounds::kMinRsaBits, bounds::kMaxRsaBits));
    }
    if (has_own_curve(key)) return failure(EINVAL, "key: its curve is not a named one");
    if (EVP_PKEY_is_a(key, "EC") == 1 || has_fixed_size(key)) return {};
    const char* kind = EVP_PKEY_get0_type_name(key);
    return failure(EINVAL, fmt::format("key: {} is no kind of key that can sign here",
                                       kind == nullptr ? "this" : kind));
}

Result<> check_peer_key(const EVP_PKEY* key) {
    constexpr std::string_view kRefused = "the certificate was not accepted";
    if (key == nullptr) return {};  // of an unknown kind: OpenSSL refuses to use it
    if (is_rsa(key) && EVP_PKEY_get_bits(key) > bounds::kMaxRsaBits) {
        return failure(EKEYREJECTED,
                       fmt::format("{}: RSA of {} bits; at most {} are taken", kRefused,
                                   EVP_PKEY_get_bits(key), bounds::kMaxRsaBits));
    }
    if (has_own_curve(key)) {
        return failure(EKEYREJECTED,
                       fmt::format("{}: the curve of its key is not a named one", kRefused));
    }
    return {};
}

}  // namespace tlsfs
