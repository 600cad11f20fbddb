/* SPDX-License-Identifier: MIT
 * One line to a TLS server and its answer, in C: client HOST PORT TEXT.
 *   cc client.c $(pkg-config --cflags --libs tlsfs) -o client
 */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <tlsclient.h>
#include <unistd.h>

static int connect_to(const char* host, const char* port) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *one;
    int fd = -1;
    if (getaddrinfo(host, port, &hints, &list) != 0) return -1;
    for (one = list; one != NULL && fd < 0; one = one->ai_next) {
        fd = socket(one->ai_family, one->ai_socktype, one->ai_protocol);
        if (fd >= 0 && connect(fd, one->ai_addr, one->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

int main(int argc, char** argv) {
    char answer[4096];
    ssize_t got;
    int fd, data;

    if (argc != 4) return 100;
    fd = connect_to(argv[1], argv[2]);
    if (fd < 0) return perror("connect"), 111;
    data = tlsclient(fd, argv[1]); /* verified; fd is closed */
    if (data < 0) return perror("tlsclient"), 98;
    dprintf(data, "%s\n", argv[3]);
    got = read(data, answer, sizeof answer);
    if (got < 0) return perror("read"), 111;
    fwrite(answer, 1, (size_t)got, stdout);
    close(data); /* sends close_notify */
    return 0;
}
