// SPDX-License-Identifier: MIT
#include "relay.h"

#include <unistd.h>

#include <cerrno>
#include <memory>
#include <thread>
#include <tuple>

#include "report.h"

namespace tlsfs::cmd {
namespace {

constexpr std::size_t kChunk = 128UL * 1024;

// Not touched before it is needed: most of what is relayed is short.
using Buffer = std::unique_ptr<char[]>;

Buffer new_buffer() {
    return std::make_unique_for_overwrite<char[]>(kChunk);
}

ssize_t read_some(int fd, const Buffer& buffer) {
    ssize_t size = 0;
    do {
        size = read(fd, buffer.get(), kChunk);
    } while (size < 0 && errno == EINTR);
    return size;
}

bool write_all(int fd, const char* bytes, std::size_t size) {
    while (size > 0) {
        const ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return false;
        bytes += written;
        size -= static_cast<std::size_t>(written);
    }
    return true;
}

// When the peer takes no more, its own last words, which receive() waits for, say whether that is
// an error; and a broken connection fails there as well.
void send_input(Connection& connection, const Buffer& buffer) {
    for (;;) {
        const ssize_t size = read_some(STDIN_FILENO, buffer);
        if (size < 0) _exit(complain_of_system("stdin"));
        if (size == 0) break;
        if (!write_all(connection.data(), buffer.get(), static_cast<std::size_t>(size))) return;
    }
    std::ignore = connection.close();
}

// The errno of a failed read, with the cause as status tells it.
Failure why_broken(const Connection& connection) {
    Failure why{errno, {}};
    Failure ignored;
    const auto tags = connection.status(ignored);
    if (!tags) return why;
    if (const auto cause = tags->find("Error"); cause != tags->end()) why.text = cause->second;
    return why;
}

int receive(const Connection& connection, const std::string& peer) {
    const Buffer buffer = new_buffer();
    for (;;) {
        const ssize_t size = read_some(connection.data(), buffer);
        if (size == 0) return 0;
        if (size < 0) return complain_of(why_broken(connection), peer);
        if (!write_all(STDOUT_FILENO, buffer.get(), static_cast<std::size_t>(size))) {
            return complain_of_system("stdout");
        }
    }
}

}  // namespace

int relay(Connection connection, const std::string& peer) {
    // Shared with a thread that may sit in read(2) on stdin until the process ends.
    const auto shared = std::make_shared<Connection>(std::move(connection));
    // Its buffer is made here: malloc would set up an arena for the thread.
    std::thread([shared, buffer = new_buffer()] { send_input(*shared, buffer); }).detach();
    return receive(*shared, peer);
}

}  // namespace tlsfs::cmd
