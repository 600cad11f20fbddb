/* SPDX-License-Identifier: MIT
 * client PORT [NAME]: TLS in one call. */
#include <tlsclient.h>

#include "talk.h"

int main(int argc, char** argv) {
    int fd = connected(argv[1]);
    int data = argc > 2 ? tlsclient(fd, argv[2]) : tlsclient(fd);
    if (data < 0) {
        printf("%s, descriptor %s\n", strerror(errno), fcntl(fd, F_GETFD) >= 0 ? "open" : "closed");
        return 2;
    }
    if (fd != data && fcntl(fd, F_GETFD) >= 0) puts("the transport is still open");
    return talk(data);
}
