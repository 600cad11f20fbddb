// SPDX-License-Identifier: MIT
#include "transfer.h"

#include <unistd.h>

#include <cerrno>

namespace tlsfs::cmd {

ssize_t read_some(int fd, std::span<char> buffer) {
    ssize_t size = 0;
    do {
        size = read(fd, buffer.data(), buffer.size());
    } while (size < 0 && errno == EINTR);
    return size;
}

bool write_all(int fd, std::span<const char> bytes) {
    while (!bytes.empty()) {
        const ssize_t written = write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return true;
}

Failure why_broken(const Connection& connection) {
    Failure why{errno, {}};
    Failure ignored;
    const auto tags = connection.status(ignored);
    if (!tags) return why;
    if (const auto cause = tags->find("Error"); cause != tags->end()) why.text = cause->second;
    return why;
}

Failure why_ended(const Connection& connection) {
    errno = ECONNRESET;
    Failure why = why_broken(connection);
    return why.text.empty() ? Failure{} : why;
}

}  // namespace tlsfs::cmd
