// SPDX-License-Identifier: MIT
#include "relay.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <span>
#include <thread>
#include <tuple>

#include "report.h"
#include "transfer.h"

namespace tlsfs::cmd {
namespace {

// Not touched before it is needed: most of what is relayed is short.
class Buffer {
 public:
    [[nodiscard]] std::span<char> all() const { return {memory_.get(), kChunk}; }
    [[nodiscard]] std::span<char> first(ssize_t size) const {
        return all().first(static_cast<std::size_t>(size));
    }

 private:
    std::unique_ptr<char[]> memory_ = std::make_unique_for_overwrite<char[]>(kChunk);
};

// As write_all(), but a broken stream is an errno and no signal.
bool give(int data, std::span<const char> bytes) {
    while (!bytes.empty()) {
        ssize_t sent = send(data, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == ENOTSOCK) return write_all(data, bytes);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return true;
}

// When the peer takes no more, its own last words, which receive() waits for, say whether that is
// an error; and a broken connection fails there as well.
void send_input(Connection& connection, const Buffer& buffer) {
    for (;;) {
        const ssize_t size = read_some(STDIN_FILENO, buffer.all());
        if (size < 0) _exit(complain_of_system("stdin"));
        if (size == 0) break;
        if (!give(connection.data(), buffer.first(size))) return;
    }
    std::ignore = connection.close();
}

int receive(const Connection& connection, const std::string& peer) {
    const Buffer buffer;
    for (;;) {
        const ssize_t size = read_some(connection.data(), buffer.all());
        if (size == 0) {
            const Failure why = why_ended(connection);
            return why ? complain_of(why, peer) : 0;
        }
        if (size < 0) return complain_of(why_broken(connection), peer);
        if (!write_all(STDOUT_FILENO, buffer.first(size))) return complain_of_system("stdout");
    }
}

}  // namespace

int relay(Connection connection, const std::string& peer) {
    // Shared with a thread that may sit in read(2) on stdin until the process ends.
    const auto shared = std::make_shared<Connection>(std::move(connection));
    // Its buffer is made here: malloc would set up an arena for the thread.
    std::thread([shared, buffer = Buffer()] { send_input(*shared, buffer); }).detach();
    return receive(*shared, peer);
}

}  // namespace tlsfs::cmd
