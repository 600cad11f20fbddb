/* SPDX-License-Identifier: MIT
 * What the outside programs share: a TCP connection, and a word with its other end. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static inline int connected(const char* port) {
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr*)&address, sizeof address) != 0) exit(3);
    return fd;
}

/* Says hello, and which libraries of the other kind the process has mapped. */
static inline int talk(int data) {
    char text[4096] = "";
    ssize_t size = 0;
    FILE* maps = fopen("/proc/self/maps", "r");
    if (!(fcntl(data, F_GETFD) & FD_CLOEXEC)) puts("not close-on-exec");
    if (write(data, "hello", 5) != 5 || (size = read(data, text, sizeof text - 1)) < 0) return 4;
    text[size] = 0;
    puts(text);
    while (fgets(text, sizeof text, maps))
        if (strstr(text, "libssl") || strstr(text, "libcrypto") || strstr(text, "libfuse"))
            fputs(text, stdout);
    return close(data) == 0 ? 0 : 5;
}
