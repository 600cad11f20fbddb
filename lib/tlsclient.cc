// SPDX-License-Identifier: MIT
// The C interface over the C++ one.
#include "tlsclient.h"

#include <unistd.h>

#include <cerrno>
#include <new>

#include "tlsclient.hpp"

namespace {

using Connected = std::optional<tlsfs::Connection>;

// C's way of saying it: a descriptor, or -1 and errno. `fd` goes only when the connection stands.
template <class Connect>
int descriptor_or_errno(int fd, Connect connect) noexcept {
    tlsfs::Failure why;
    try {
        if (Connected connection = connect(why)) {
            ::close(fd);
            return connection->release();
        }
    } catch (const std::bad_alloc&) {
        why.code = ENOMEM;
    }
    errno = why.code;
    return -1;
}

}  // namespace

int tlsclient(int fd, const char* name) {
    return descriptor_or_errno(fd, [&](tlsfs::Failure& why) {
        tlsfs::ClientOptions options;
        if (name != nullptr) options.name = name;
        return tlsfs::client(tlsfs::Transport::stream(fd), options, why);
    });
}

int tlsserver(int fd, const char* cert, const char* key) {
    return descriptor_or_errno(fd, [&](tlsfs::Failure& why) {
        tlsfs::ServerOptions options;
        if (cert != nullptr) options.cert_file = cert;
        if (key != nullptr) options.key_file = key;
        return tlsfs::server(tlsfs::Transport::stream(fd), options, why);
    });
}
