// SPDX-License-Identifier: MIT
// The handshake with OpenSSL 3, which on Debian cannot hand its keys to the kernel itself: the
// secrets come from the key log callback, and the keys are derived from them as RFC 8446 says.
#include "ktls.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

// ---- keys ----

static int expand_label(const EVP_MD *digest, const unsigned char *secret, size_t secret_length,
                        const char *label, unsigned char *out, size_t length) {
    unsigned char info[64];
    size_t label_length = strlen(label);
    info[0] = (unsigned char)(length >> 8);
    info[1] = (unsigned char)length;
    info[2] = (unsigned char)(6 + label_length);
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label, label_length);
    info[9 + label_length] = 0;  // no context

    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)EVP_MD_get0_name(digest), 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, secret_length),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, 10 + label_length),
        OSSL_PARAM_construct_end(),
    };
    int ok = EVP_KDF_derive(context, out, length, params) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    return ok ? 0 : -1;
}

// TLS 1.2's key block: client key, server key, client salt, server salt (AEAD suites have no MAC keys).
static int key_block(SSL *ssl, const EVP_MD *digest, unsigned char *out, size_t length) {
    unsigned char master[48], seed[64];
    SSL_SESSION_get_master_key(SSL_get_session(ssl), master, sizeof(master));
    SSL_get_server_random(ssl, seed, 32);
    SSL_get_client_random(ssl, seed + 32, 32);

    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)EVP_MD_get0_name(digest), 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, sizeof(master)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (void *)"key expansion", 13),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof(seed)),
        OSSL_PARAM_construct_end(),
    };
    int ok = EVP_KDF_derive(context, out, length, params) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    OPENSSL_cleanse(master, sizeof(master));
    return ok ? 0 : -1;
}

struct traffic_key {
    unsigned char key[32];
    unsigned char iv[12];  // TLS 1.2 AES-GCM: 4 bytes of it
};

static int derive(struct ktls *ktls, SSL *ssl, size_t key_length, int explicit_nonce,
                  struct traffic_key *client, struct traffic_key *server) {
    const EVP_MD *digest = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(ssl));
    if (SSL_version(ssl) == TLS1_3_VERSION) {
        return expand_label(digest, ktls->client_secret, ktls->secret_length, "key", client->key, key_length) ||
               expand_label(digest, ktls->client_secret, ktls->secret_length, "iv", client->iv, 12) ||
               expand_label(digest, ktls->server_secret, ktls->secret_length, "key", server->key, key_length) ||
               expand_label(digest, ktls->server_secret, ktls->secret_length, "iv", server->iv, 12)
                   ? -1 : 0;
    }
    unsigned char block[2 * 32 + 2 * 12];
    size_t iv_length = explicit_nonce ? 4 : 12;
    if (key_block(ssl, digest, block, 2 * key_length + 2 * iv_length)) return -1;
    memcpy(client->key, block, key_length);
    memcpy(server->key, block + key_length, key_length);
    memcpy(client->iv, block + 2 * key_length, iv_length);
    memcpy(server->iv, block + 2 * key_length + iv_length, iv_length);
    OPENSSL_cleanse(block, sizeof(block));
    return 0;
}

// ---- the kernel's side ----

union crypto_info {
    struct tls_crypto_info info;
    struct tls12_crypto_info_aes_gcm_128 gcm128;
    struct tls12_crypto_info_aes_gcm_256 gcm256;
    struct tls12_crypto_info_chacha20_poly1305 chacha;
};

static void store_sequence(unsigned char out[8], uint64_t sequence) {
    for (int i = 7; i >= 0; i--, sequence >>= 8) out[i] = (unsigned char)sequence;
}

#define FILL_GCM(part)                                                         \
    do {                                                                       \
        memcpy((part).key, key->key, sizeof((part).key));                      \
        memcpy((part).salt, key->iv, sizeof((part).salt));                     \
        memcpy((part).iv, tls13 ? key->iv + 4 : counter, sizeof((part).iv));   \
        memcpy((part).rec_seq, counter, sizeof((part).rec_seq));               \
        size = sizeof(part);                                                   \
    } while (0)

static int set_direction(int fd, int option, int version, int cipher, const struct traffic_key *key,
                         uint64_t sequence) {
    union crypto_info crypto = {.info = {.version = (unsigned short)version,
                                         .cipher_type = (unsigned short)cipher}};
    const int tls13 = version == TLS_1_3_VERSION;
    unsigned char counter[8];
    socklen_t size = 0;
    store_sequence(counter, sequence);
    switch (cipher) {
        case TLS_CIPHER_AES_GCM_128: FILL_GCM(crypto.gcm128); break;
        case TLS_CIPHER_AES_GCM_256: FILL_GCM(crypto.gcm256); break;
        default:
            memcpy(crypto.chacha.key, key->key, sizeof(crypto.chacha.key));
            memcpy(crypto.chacha.iv, key->iv, sizeof(crypto.chacha.iv));
            memcpy(crypto.chacha.rec_seq, counter, sizeof(counter));
            size = sizeof(crypto.chacha);
    }
    int result = setsockopt(fd, SOL_TLS, option, &crypto, size);
    OPENSSL_cleanse(&crypto, sizeof(crypto));
    return result;
}

int ktls_enable(struct ktls *ktls, SSL *ssl) {
    int cipher;
    size_t key_length;
    switch (SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(ssl))) {
        case NID_aes_128_gcm: cipher = TLS_CIPHER_AES_GCM_128; key_length = 16; break;
        case NID_aes_256_gcm: cipher = TLS_CIPHER_AES_GCM_256; key_length = 32; break;
        case NID_chacha20_poly1305: cipher = TLS_CIPHER_CHACHA20_POLY1305; key_length = 32; break;
        default: errno = EOPNOTSUPP; return -1;
    }
    const int version = SSL_version(ssl) == TLS1_3_VERSION ? TLS_1_3_VERSION : TLS_1_2_VERSION;
    struct traffic_key client, server;
    if (SSL_has_pending(ssl) ||
        derive(ktls, ssl, key_length, cipher != TLS_CIPHER_CHACHA20_POLY1305, &client, &server)) {
        errno = EPROTO;
        return -1;
    }
    const struct traffic_key *ours = ktls->server ? &server : &client;
    const struct traffic_key *theirs = ktls->server ? &client : &server;
    int result = setsockopt(ktls->fd, SOL_TCP, TCP_ULP, "tls", sizeof("tls"));
    if (!result) result = set_direction(ktls->fd, TLS_TX, version, cipher, ours, ktls->sent);
    if (!result) result = set_direction(ktls->fd, TLS_RX, version, cipher, theirs, ktls->received);
    OPENSSL_cleanse(&client, sizeof(client));
    OPENSSL_cleanse(&server, sizeof(server));
    return result;
}

// ---- the handshake ----

static struct ktls *of(const SSL *ssl) { return SSL_get_app_data(ssl); }

static void read_secret(struct ktls *ktls, const char *line, const char *label, unsigned char *secret) {
    if (strncmp(line, label, strlen(label))) return;
    const char *hex = strrchr(line, ' ') + 1;
    for (ktls->secret_length = 0; hex[0] && hex[1]; hex += 2) {
        unsigned byte;
        sscanf(hex, "%2x", &byte);
        secret[ktls->secret_length++] = (unsigned char)byte;
    }
}

static void on_key_log(const SSL *ssl, const char *line) {
    read_secret(of(ssl), line, "CLIENT_TRAFFIC_SECRET_0", of(ssl)->client_secret);
    read_secret(of(ssl), line, "SERVER_TRAFFIC_SECRET_0", of(ssl)->server_secret);
}

// Counts the records that go under the traffic keys: in TLS 1.3 those after both Finished (a server's
// tickets), in TLS 1.2 those after each side's ChangeCipherSpec (Finished, and a ticket before it is not).
static void on_message(int write, int version, int type, const void *bytes, size_t length, SSL *ssl,
                       void *argument) {
    struct ktls *ktls = argument;
    const unsigned char *message = bytes;
    (void)version;
    if (SSL_version(ssl) == TLS1_3_VERSION) {
        if (type == SSL3_RT_HANDSHAKE && length && message[0] == SSL3_MT_NEWSESSION_TICKET) {
            if (write) ktls->sent++; else ktls->received++;
        }
    } else if (type == SSL3_RT_HANDSHAKE && length && message[0] == SSL3_MT_FINISHED) {
        if (write) ktls->sent++; else ktls->received++;
    }
}

static void bound(int fd, int seconds) {
    struct timeval time = {.tv_sec = seconds};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
}

static SSL *new_ssl(struct ktls *ktls) {
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    SSL_CTX_set_min_proto_version(context, ktls->version);
    SSL_CTX_set_max_proto_version(context, ktls->version);
    SSL_CTX_set_read_ahead(context, 0);
    SSL_CTX_set_keylog_callback(context, on_key_log);
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (ktls->ciphers && !SSL_CTX_set_ciphersuites(context, ktls->ciphers))
        SSL_CTX_set_cipher_list(context, ktls->ciphers);
    if (ktls->server) {
        SSL_CTX_use_certificate_chain_file(context, ktls->cert);
        SSL_CTX_use_PrivateKey_file(context, ktls->key, SSL_FILETYPE_PEM);
        if (ktls->no_tickets) SSL_CTX_set_num_tickets(context, 0);
    }
    SSL *ssl = SSL_new(context);
    SSL_CTX_free(context);
    SSL_set_app_data(ssl, ktls);
    SSL_set_msg_callback(ssl, on_message);
    SSL_set_msg_callback_arg(ssl, ktls);
    if (ktls->name && !ktls->server) SSL_set_tlsext_host_name(ssl, ktls->name);
    SSL_set_fd(ssl, ktls->fd);
    return ssl;
}

int ktls_handshake(struct ktls *ktls) {
    ERR_clear_error();
    errno = 0;
    SSL *ssl = new_ssl(ktls);
    bound(ktls->fd, ktls->seconds);
    int ok = (ktls->server ? SSL_accept(ssl) : SSL_connect(ssl)) == 1;
    int error = errno;
    if (ok && ktls_enable(ktls, ssl)) {
        ok = 0;
        error = errno;
    } else if (!ok) {
        error = error == EAGAIN ? ETIMEDOUT : error && error != EBADF ? error : EPROTO;
    }
    bound(ktls->fd, 0);
    SSL_set_quiet_shutdown(ssl, 1);
    SSL_free(ssl);
    errno = error;
    return ok ? 0 : -1;
}
