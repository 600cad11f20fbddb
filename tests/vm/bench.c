// SPDX-License-Identifier: MIT
// The same loops over a plain kernel TLS socket and over the module's data device; the peer is a plain
// kernel TLS socket both times. Prints nanoseconds of guest time, which -icount makes repeatable.
//
//   bench socket|data CERT KEY        needs the agent for `data`
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ktls.h"

enum { BULK = 16 << 20, BLOCK = 128 << 10, ECHOES = 2000, ECHO = 64, ROUNDS = 3 };

static char buffer[BLOCK];
static const char *cert, *key;

static void fail(const char *what) {
    perror(what);
    exit(111);
}

static void write_all(int fd, size_t count) {
    for (size_t done = 0; done < count;) {
        ssize_t n = write(fd, buffer, count - done < BLOCK ? count - done : BLOCK);
        if (n <= 0) fail("write");
        done += (size_t)n;
    }
}

static void read_all(int fd, size_t count) {
    for (size_t done = 0; done < count;) {
        ssize_t n = read(fd, buffer, count - done < BLOCK ? count - done : BLOCK);
        if (n <= 0) fail("read");
        done += (size_t)n;
    }
}

// ---- the two ends ----

static void tcp_pair(int ends[2]) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1)) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(ends[0], (struct sockaddr *)&address, length)) fail("connect");
    ends[1] = accept(listener, NULL, NULL);
    close(listener);
    for (int i = 0; i < 2; i++) setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

// The peer: for each round a sink, a source and an echo, in the order in which the client measures.
static void serve(int fd) {
    struct ktls ktls = {.fd = fd, .server = 1, .version = TLS1_3_VERSION, .cert = cert, .key = key,
                        .no_tickets = 1, .seconds = 30};
    if (ktls_handshake(&ktls)) fail("peer");
    for (int round = 0; round < ROUNDS; round++) {
        read_all(fd, BULK);
        write_all(fd, 1);
        write_all(fd, BULK);
        for (int i = 0; i < ECHOES; i++) {
            read_all(fd, ECHO);
            write_all(fd, ECHO);
        }
    }
    read_all(fd, 1);
    exit(0);
}

static int over_socket(int fd) {
    struct ktls ktls = {.fd = fd, .version = TLS1_3_VERSION, .seconds = 30};
    if (ktls_handshake(&ktls)) fail("handshake");
    return fd;
}

// The device's major is in /proc/devices: the companion's tree would show the node.
static unsigned data_major(void) {
    FILE *devices = fopen("/proc/devices", "r");
    char line[128], name[64];
    unsigned major = 0;
    while (fgets(line, sizeof(line), devices))
        if (sscanf(line, "%u %63s", &major, name) == 2 && !strcmp(name, "tlsdata")) break;
    fclose(devices);
    return major;
}

static int over_data(int fd) {
    char text[64], path[] = "/tmp/benchdata";
    int ctl = open("/dev/tls", O_RDWR);
    if (ctl < 0) fail("/dev/tls");
    ssize_t n = read(ctl, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = 0;
    unsigned number = (unsigned)atoi(text);
    int length = snprintf(text, sizeof(text), "fd %d\nclient\n", fd);
    if (write(ctl, text, (size_t)length) != length) fail("ctl");
    unlink(path);
    if (mknod(path, S_IFCHR | 0600, makedev(data_major(), number))) fail("mknod");
    int data = open(path, O_RDWR);
    if (data < 0) fail("data");
    close(fd);
    return data;
}

// ---- measuring ----

static double nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

struct result { double elapsed, own; };

static struct result started(void) {
    return (struct result){nanoseconds(CLOCK_MONOTONIC), nanoseconds(CLOCK_PROCESS_CPUTIME_ID)};
}

static void report(const char *what, struct result start, double per) {
    printf("%s %.1f %.1f\n", what, (nanoseconds(CLOCK_MONOTONIC) - start.elapsed) / per,
           (nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - start.own) / per);
}

static void measure(int fd) {
    for (int round = 0; round < ROUNDS; round++) {
        struct result start = started();
        write_all(fd, BULK);
        read_all(fd, 1);
        report("write", start, BULK / 1024);
        start = started();
        read_all(fd, BULK);
        report("read", start, BULK / 1024);
        start = started();
        for (int i = 0; i < ECHOES; i++) {
            write_all(fd, ECHO);
            read_all(fd, ECHO);
        }
        report("echo", start, ECHOES);
    }
    write_all(fd, 1);
}

int main(int argc, char **argv) {
    if (argc != 4) return 100;
    cert = argv[2];
    key = argv[3];
    int ends[2];
    tcp_pair(ends);
    pid_t peer = fork();
    if (peer == 0) {
        close(ends[0]);
        serve(ends[1]);
    }
    close(ends[1]);
    measure(strcmp(argv[1], "data") ? over_socket(ends[0]) : over_data(ends[0]));
    int status;
    waitpid(peer, &status, 0);
    return status ? 111 : 0;
}
