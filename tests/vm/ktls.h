// SPDX-License-Identifier: MIT
// The handshake in user space and the hand-over of its keys to the kernel, for the programs here.
#ifndef KTLS_H
#define KTLS_H

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

enum { KTLS_SECRET_MAX = 64 };

// One handshake: fill in the first part, zero the rest.
struct ktls {
    int fd;               // both ways; blocking
    int server;           // or a client
    int version;          // TLS1_3_VERSION, TLS1_2_VERSION
    const char *name;     // SNI; may be NULL
    const char *ciphers;  // may be NULL
    const char *cert, *key;  // files, a server's
    int seconds;          // bound on the handshake; 0: none
    int no_tickets;       // a server's

    // what the library told on the way
    unsigned char client_secret[KTLS_SECRET_MAX], server_secret[KTLS_SECRET_MAX];
    size_t secret_length;
    uint64_t sent, received;  // records under the traffic keys
};

// 0, or -1 with errno: EPROTO, or the carrier's.
int ktls_handshake(struct ktls *ktls);
// Sets both directions on ktls->fd. 0, or -1 with errno: EOPNOTSUPP, a suite that the kernel lacks.
int ktls_enable(struct ktls *ktls, SSL *ssl);

#endif
