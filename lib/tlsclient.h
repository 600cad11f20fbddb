/* SPDX-License-Identifier: MIT
 *
 * TLS on a descriptor in one call: tlsclient(3).
 *
 *     int tlsclient(int fd);
 *     int tlsclient(int fd, const char *name);
 *     int tlsserver(int fd, const char *cert, const char *key);
 *
 * fd is any connected stream: a TCP, Unix or vsock socket, one end of a socketpair, a tty.
 * Each function waits until the handshake is over, at most 30 seconds, and then
 *
 *  - returns a new descriptor (close-on-exec) that carries the plaintext both ways, and has closed
 *    fd. It is a connected TCP socket with the addresses of fd. read(2) gives 0 only after the
 *    peer's close_notify; a stream cut short is ECONNRESET. shutdown(2) with SHUT_WR sends
 *    close_notify, and so does the last close(2).
 *  - or returns -1 with errno set, and fd is still open. Once the handshake has begun, fd is of no
 *    more use than to be closed.
 *
 * tlsclient verifies the peer against the machine's trust store. name is the host that the
 * certificate must bear, and is sent as SNI; without it (or NULL) the certificate must bear the
 * peer's IP address. tlsserver reads PEM files: cert is the chain, leaf first; key its private key,
 * whose bytes never enter the caller's memory.
 *
 * errno: EKEYREJECTED, EKEYEXPIRED, EKEYREVOKED (the certificate was not accepted: wrong name or
 * issuer; out of date; revoked), EPROTO (the peer sent an alert or broke the protocol), EBADMSG (a
 * record failed authentication), ECONNRESET (the peer went away), ETIMEDOUT, EBADF, EOPNOTSUPP (fd
 * is no connected stream), EINVAL (bad PEM; no name where one is needed), EMFILE, ENFILE, ENOENT
 * (no file of that name; no companion, and none could be started), and what open(2) says.
 *
 * All functions are thread-safe and leave signals alone. Where no tlsfs is mounted, a private one
 * is started in the background, unless TLSFS_AUTOSTART=0 is in the environment. tlsclient.hpp has
 * the interface with options and with the cause in words.
 */
#ifndef TLSFS_TLSCLIENT_H
#define TLSFS_TLSCLIENT_H

#define TLSFS_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* The exported functions; name may be NULL. */
TLSFS_API int tlsclient(int fd, const char* name);
TLSFS_API int tlsserver(int fd, const char* cert, const char* key);

#ifdef __cplusplus
}

inline int tlsclient(int fd) {
    return tlsclient(fd, nullptr);
}

#else

static inline int tlsclient_unnamed_(int fd) {
    return tlsclient(fd, (const char*)0);
}

/* C has no overloads: the number of arguments chooses, and any other number does not compile. */
#define TLSCLIENT_THIRD_(first, second, third, ...) third
#define tlsclient(...) TLSCLIENT_THIRD_(__VA_ARGS__, tlsclient, tlsclient_unnamed_, 0)(__VA_ARGS__)

#endif

#endif
