// SPDX-License-Identifier: MIT
// What one does without the module: makes the handshake on an open socket, sets kernel TLS on it, and
// executes a program with that socket as its stdin and stdout. For comparing.
//
//   ktlsrun FD PROGRAM [ARG...]
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ktls.h"

int main(int argc, char **argv) {
    if (argc < 3) return 100;
    struct ktls ktls = {.fd = atoi(argv[1]), .version = TLS1_3_VERSION, .name = "peer", .seconds = 10};
    if (ktls_handshake(&ktls)) {
        perror("ktlsrun: handshake");
        return 111;
    }
    dup2(ktls.fd, 0);
    dup2(ktls.fd, 1);
    if (ktls.fd > 1) close(ktls.fd);
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return 111;
}
