/* SPDX-License-Identifier: MIT
 * server PORT CERT KEY: answers one client. */
#include <tlsclient.h>

#include "talk.h"

int main(int argc, char** argv) {
    struct sockaddr_in address;
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0), data;
    char text[100];
    ssize_t size;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (argc < 4 || bind(listener, (struct sockaddr*)&address, sizeof address) != 0 ||
        listen(listener, 1) != 0)
        return 3;
    puts("listening");
    fflush(stdout);
    data = tlsserver(accept(listener, NULL, NULL), argv[2], argv[3]);
    if (data < 0) {
        perror("tlsserver");
        return 2;
    }
    size = read(data, text, sizeof text);
    if (size <= 0 || write(data, text, (size_t)size) != size) return 4;
    return 0;
}
