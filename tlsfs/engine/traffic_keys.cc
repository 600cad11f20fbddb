// SPDX-License-Identifier: MIT
#include "engine/traffic_keys.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <string>

#include "engine/openssl_error.h"
#include "engine/openssl_ptr.h"
#include "engine/wiping_memory.h"

namespace tlsfs {
namespace {

using KdfPtr = std::unique_ptr<EVP_KDF, OpensslFree<EVP_KDF_free>>;
using KdfContextPtr = std::unique_ptr<EVP_KDF_CTX, OpensslFree<EVP_KDF_CTX_free>>;
using CipherContextPtr = std::unique_ptr<EVP_CIPHER_CTX, OpensslFree<EVP_CIPHER_CTX_free>>;

constexpr std::size_t kNonce = 12;
constexpr std::size_t kTag = 16;
constexpr std::size_t kRandom = 32;

struct Suite {
    int cipher_nid;
    std::size_t key_size;
    std::size_t tls12_iv_size;
    const EVP_CIPHER* (*cipher)();
};

constexpr std::array kSuites{
    Suite{NID_aes_128_gcm, 16, 4, EVP_aes_128_gcm},
    Suite{NID_aes_256_gcm, 32, 4, EVP_aes_256_gcm},
    Suite{NID_chacha20_poly1305, 32, 12, EVP_chacha20_poly1305},
};

Result<Suite> suite_of(const SSL* ssl) {
    const int nid = SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(ssl));
    const auto found = std::ranges::find(kSuites, nid, &Suite::cipher_nid);
    if (found != kSuites.end()) return *found;
    return failure(EOPNOTSUPP, std::string("the kernel has no ") + SSL_get_cipher_name(ssl));
}

SecretBytes parse_hex(std::string_view hex) {
    SecretBytes bytes(hex.size() / 2);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        std::uint8_t value = 0;
        std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, value, 16);
        bytes[i] = static_cast<char>(value);
    }
    return bytes;
}

void* data_of(const SecretBytes& bytes) {
    return const_cast<char*>(bytes.data());  // OSSL_PARAM reads through a pointer to non-const
}

Result<SecretBytes> derive(const char* kdf_name, const OSSL_PARAM* parameters, std::size_t size) {
    const WipeScope intermediate_secrets;
    const KdfPtr kdf(EVP_KDF_fetch(nullptr, kdf_name, nullptr));
    const KdfContextPtr context(EVP_KDF_CTX_new(kdf.get()));
    SecretBytes out(size);
    ERR_clear_error();
    if (EVP_KDF_derive(context.get(), reinterpret_cast<unsigned char*>(out.data()), size,
                       parameters) != 1) {
        return tl::unexpected(take_openssl_error(kdf_name, EIO));
    }
    return out;
}

char* digest_of(const SSL* ssl) {
    const EVP_MD* digest = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(ssl));
    return const_cast<char*>(EVP_MD_get0_name(digest));
}

// HKDF-Expand-Label with no context (RFC 8446 section 7.1).
Result<SecretBytes> expand_label(const SSL* ssl, const SecretBytes& secret, std::string_view label,
                                 std::size_t size) {
    std::string info{static_cast<char>(size >> 8U), static_cast<char>(size & 0xffU),
                     static_cast<char>(6 + label.size())};
    info.append("tls13 ").append(label).push_back('\0');
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    const std::array parameters{
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest_of(ssl), 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, data_of(secret), secret.size()),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
        OSSL_PARAM_construct_end(),
    };
    return derive(OSSL_KDF_NAME_HKDF, parameters.data(), size);
}

Result<TrafficKey> tls13_key(const SSL* ssl, const SecretBytes& secret, const Suite& suite) {
    if (secret.empty()) return failure(EIO, "the key log said nothing");
    auto key = expand_label(ssl, secret, "key", suite.key_size);
    if (!key) return tl::unexpected(key.error());
    auto iv = expand_label(ssl, secret, "iv", kNonce);
    if (!iv) return tl::unexpected(iv.error());
    return TrafficKey{std::move(*key), std::move(*iv)};
}

// The key block of RFC 5246 section 6.3; AEAD suites have no MAC keys in it.
Result<SecretBytes> tls12_key_block(const SSL* ssl, const SecretBytes& master, std::size_t size) {
    if (master.empty()) return failure(EIO, "the key log said nothing");
    SecretBytes seed(2 * kRandom);
    SSL_get_server_random(ssl, reinterpret_cast<unsigned char*>(seed.data()), kRandom);
    SSL_get_client_random(ssl, reinterpret_cast<unsigned char*>(seed.data()) + kRandom, kRandom);
    std::string label = "key expansion";
    const std::array parameters{
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest_of(ssl), 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, data_of(master), master.size()),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, label.data(), label.size()),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed.data(), seed.size()),
        OSSL_PARAM_construct_end(),
    };
    return derive(OSSL_KDF_NAME_TLS1_PRF, parameters.data(), size);
}

struct BothSides {
    TrafficKey client, server;
};

Result<BothSides> tls12_keys(const SSL* ssl, const SecretBytes& master, const Suite& suite) {
    const std::size_t key = suite.key_size;
    const std::size_t iv = suite.tls12_iv_size;
    const auto block = tls12_key_block(ssl, master, 2 * (key + iv));
    if (!block) return tl::unexpected(block.error());
    const auto part = [&](std::size_t from, std::size_t size) {
        const auto begin = block->begin() + static_cast<std::ptrdiff_t>(from);
        return SecretBytes(begin, begin + static_cast<std::ptrdiff_t>(size));
    };
    return BothSides{{part(0, key), part(2 * key, iv)}, {part(key, key), part(2 * key + iv, iv)}};
}

Result<BothSides> both_sides(const SSL* ssl, const TrafficSecrets& secrets, const Suite& suite) {
    if (SSL_version(ssl) != TLS1_3_VERSION) return tls12_keys(ssl, secrets.master, suite);
    auto client = tls13_key(ssl, secrets.client, suite);
    if (!client) return tl::unexpected(client.error());
    auto server = tls13_key(ssl, secrets.server, suite);
    if (!server) return tl::unexpected(server.error());
    return BothSides{std::move(*client), std::move(*server)};
}

}  // namespace

void TrafficSecrets::note(std::string_view line) {
    const auto label = line.substr(0, line.find(' '));
    const auto secret = line.substr(line.rfind(' ') + 1);
    if (label == "CLIENT_TRAFFIC_SECRET_0") client = parse_hex(secret);
    if (label == "SERVER_TRAFFIC_SECRET_0") server = parse_hex(secret);
    if (label == "CLIENT_RANDOM") master = parse_hex(secret);
}

void TrafficSecrets::forget() {
    for (SecretBytes* secret : {&client, &server, &master}) SecretBytes().swap(*secret);
}

Result<TrafficKeys> derive_traffic_keys(const SSL* ssl, const TrafficSecrets& secrets) {
    const auto suite = suite_of(ssl);
    if (!suite) return tl::unexpected(suite.error());
    auto sides = both_sides(ssl, secrets, *suite);
    if (!sides) return tl::unexpected(sides.error());
    if (SSL_is_server(ssl) != 0)
        return TrafficKeys{std::move(sides->server), std::move(sides->client)};
    return TrafficKeys{std::move(sides->client), std::move(sides->server)};
}

Result<SecretBytes> seal_record(const SSL* ssl, const TrafficKey& key, std::uint64_t sequence,
                                std::uint8_t type, std::string_view content) {
    constexpr std::size_t kHeader = 5;
    const auto suite = suite_of(ssl);
    if (!suite) return tl::unexpected(suite.error());
    std::array<unsigned char, kNonce> nonce{};
    std::ranges::copy(key.iv, nonce.begin());
    for (std::size_t i = 0; i < sizeof sequence; ++i) {
        nonce[kNonce - 1 - i] ^= static_cast<unsigned char>(sequence >> (8 * i));
    }
    const std::size_t body = content.size() + 1 + kTag;
    SecretBytes record(kHeader + body);
    auto* out = reinterpret_cast<unsigned char*>(record.data());
    const std::array<unsigned char, kHeader> header{
        23, 3, 3, static_cast<unsigned char>(body >> 8U), static_cast<unsigned char>(body)};
    std::ranges::copy(header, out);
    std::ranges::copy(content, record.begin() + kHeader);
    out[kHeader + content.size()] = type;

    const CipherContextPtr context(EVP_CIPHER_CTX_new());
    const auto* secret = reinterpret_cast<const unsigned char*>(key.key.data());
    const int inner = static_cast<int>(content.size() + 1);
    int written = 0;
    ERR_clear_error();
    const bool sealed =
        EVP_EncryptInit_ex(context.get(), suite->cipher(), nullptr, secret, nonce.data()) == 1 &&
        EVP_EncryptUpdate(context.get(), nullptr, &written, header.data(), kHeader) == 1 &&
        EVP_EncryptUpdate(context.get(), out + kHeader, &written, out + kHeader, inner) == 1 &&
        EVP_EncryptFinal_ex(context.get(), out + kHeader + inner, &written) == 1 &&
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kTag, out + kHeader + inner) == 1;
    if (!sealed) return tl::unexpected(take_openssl_error("sealing a record", EIO));
    return record;
}

}  // namespace tlsfs
