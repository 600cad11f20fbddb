/* SPDX-License-Identifier: MIT
 * socket PORT NAME: what the returned descriptor can do as a socket. */
#include <tlsclient.h>

#include "talk.h"

int main(int argc, char** argv) {
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    char text[100] = "";
    int data = argc > 2 ? tlsclient(connected(argv[1]), argv[2]) : -1;
    if (data < 0) {
        perror("tlsclient");
        return 2;
    }
    if (getpeername(data, (struct sockaddr*)&peer, &length) != 0) return 3;
    printf("peer %s:%d\n", inet_ntoa(peer.sin_addr), ntohs(peer.sin_port));
    puts(fcntl(data, F_GETFL) & O_NONBLOCK ? "nonblocking" : "blocking");
    if (send(data, "hello", 5, MSG_NOSIGNAL) != 5) return 4;
    if (shutdown(data, SHUT_WR) != 0) return 5;
    if (recv(data, text, 5, MSG_WAITALL) != 5) return 6;
    puts(text);
    if (recv(data, text, sizeof text, 0) != 0) return 7;
    puts("end");
    return 0;
}
