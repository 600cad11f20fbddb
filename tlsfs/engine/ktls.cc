// SPDX-License-Identifier: MIT
#include "engine/ktls.h"

#include <fmt/format.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/rand.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

namespace tlsfs {
namespace {

#ifndef SOL_TLS
constexpr int SOL_TLS = 282;
#endif

template <class Bytes>
void fill(Bytes& field, std::span<const char> from) {
    std::memcpy(field, from.data(), std::min(sizeof field, from.size()));
}

template <class Bytes>
void fill_sequence(Bytes& field, std::uint64_t number) {
    for (std::size_t i = 0; i < sizeof field; ++i) {
        field[sizeof field - 1 - i] = static_cast<unsigned char>(number >> (8 * i));
    }
}

// AES-GCM: in TLS 1.3 the nonce is salt and iv together; in 1.2 the iv is sent with each record and
// only must never come twice, so it starts anywhere.
template <class Info>
void fill_gcm(Info& info, const TrafficKey& key, std::uint64_t sequence) {
    fill(info.key, key.key);
    fill(info.salt, key.iv);
    if (info.info.version == TLS_1_3_VERSION) {
        fill(info.iv, std::span(key.iv).subspan(sizeof info.salt));
    } else {
        RAND_bytes(info.iv, sizeof info.iv);
    }
    fill_sequence(info.rec_seq, sequence);
}

void fill_chacha(tls12_crypto_info_chacha20_poly1305& info, const TrafficKey& key,
                 std::uint64_t sequence) {
    fill(info.key, key.key);
    fill(info.iv, key.iv);
    fill_sequence(info.rec_seq, sequence);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"  // the kernel's header has an array of no elements
union AnyInfo {
    tls_crypto_info info;
    tls12_crypto_info_aes_gcm_128 gcm128;
    tls12_crypto_info_aes_gcm_256 gcm256;
    tls12_crypto_info_chacha20_poly1305 chacha;
};

// What setsockopt(2) wants for one direction; wiped with the object.
class CryptoInfo {
 public:
    CryptoInfo(const SSL* ssl, const TrafficKey& key, std::uint64_t sequence) {
        any_.info.version = SSL_version(ssl) == TLS1_3_VERSION ? TLS_1_3_VERSION : TLS_1_2_VERSION;
        switch (SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(ssl))) {
            case NID_aes_128_gcm:
                any_.info.cipher_type = TLS_CIPHER_AES_GCM_128;
                fill_gcm(any_.gcm128, key, sequence);
                size_ = sizeof any_.gcm128;
                break;
            case NID_aes_256_gcm:
                any_.info.cipher_type = TLS_CIPHER_AES_GCM_256;
                fill_gcm(any_.gcm256, key, sequence);
                size_ = sizeof any_.gcm256;
                break;
            default:
                any_.info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
                fill_chacha(any_.chacha, key, sequence);
                size_ = sizeof any_.chacha;
                break;
        }
    }
    CryptoInfo(const CryptoInfo&) = delete;
    CryptoInfo& operator=(const CryptoInfo&) = delete;
    ~CryptoInfo() { explicit_bzero(&any_, sizeof any_); }

    [[nodiscard]] bool set(int socket, int direction) const {
        return setsockopt(socket, SOL_TLS, direction, &any_, static_cast<socklen_t>(size_)) == 0;
    }

 private:
    AnyInfo any_{};
    std::size_t size_ = 0;
};

#pragma GCC diagnostic pop

}  // namespace

Result<> check_ktls_transport(int socket) {
    int protocol = 0;
    socklen_t size = sizeof protocol;
    if (getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0 ||
        protocol != IPPROTO_TCP) {
        return failure(EOPNOTSUPP, "the transport is not TCP");
    }
    tcp_info info{};
    size = sizeof info;
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        info.tcpi_state != TCP_ESTABLISHED) {
        return failure(EOPNOTSUPP, "the transport is not in TCP's state ESTABLISHED");
    }
    return {};
}

Result<> set_ktls(int socket, const SSL* ssl, const TrafficKeys& keys, RecordNumbers next) {
    const CryptoInfo write(ssl, keys.write, next.write);
    const CryptoInfo read(ssl, keys.read, next.read);
    if (setsockopt(socket, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") != 0) {
        return failure(EOPNOTSUPP,
                       fmt::format("the kernel's tls is not to be had ({}): modprobe tls",
                                   std::strerror(errno)));
    }
    if (!write.set(socket, TLS_TX)) {
        return failure(EOPNOTSUPP, fmt::format("the kernel does not encrypt {}: {}",
                                               SSL_get_cipher_name(ssl), std::strerror(errno)));
    }
    if (!read.set(socket, TLS_RX)) return system_failure("the kernel does not decrypt");
    return {};
}

}  // namespace tlsfs
