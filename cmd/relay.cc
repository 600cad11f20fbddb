// SPDX-License-Identifier: MIT
#include "relay.h"

#include <unistd.h>

#include <memory>
#include <span>
#include <thread>
#include <tuple>
#include <vector>

#include "report.h"
#include "transfer.h"

namespace tlsfs::cmd {
namespace {

// When the peer takes no more, its own last words, which receive() waits for, say whether that is
// an error; and a broken connection fails there as well.
void send_input(Connection& connection) {
    std::vector<char> buffer(kChunk);
    for (;;) {
        const ssize_t size = read_some(STDIN_FILENO, buffer);
        if (size < 0) _exit(complain_of_system("stdin"));
        if (size == 0) break;
        if (!write_all(connection.data(), std::span(buffer).first(static_cast<std::size_t>(size))))
            return;
    }
    std::ignore = connection.close();
}

int receive(const Connection& connection, const std::string& peer) {
    std::vector<char> buffer(kChunk);
    for (;;) {
        const ssize_t size = read_some(connection.data(), buffer);
        if (size == 0) return 0;
        if (size < 0) return complain_of(why_broken(connection), peer);
        if (!write_all(STDOUT_FILENO, std::span(buffer).first(static_cast<std::size_t>(size)))) {
            return complain_of_system("stdout");
        }
    }
}

}  // namespace

int relay(Connection connection, const std::string& peer) {
    // Shared with a thread that may sit in read(2) on stdin until the process ends.
    const auto shared = std::make_shared<Connection>(std::move(connection));
    std::thread([shared] { send_input(*shared); }).detach();
    return receive(*shared, peer);
}

}  // namespace tlsfs::cmd
