// SPDX-License-Identifier: MIT
#include "companion_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <tuple>

#include "report.h"
#include "text.h"

namespace tlsfs::cmd {
namespace {

using internal::AttachReply;
using Tags = std::map<std::string, std::string>;

bool is_pipe(int fd, int way) {
    struct stat info{};
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &info) != 0 || !S_ISFIFO(info.st_mode)) return false;
    return (flags & O_ACCMODE) == way || (flags & O_ACCMODE) == O_RDWR;
}

std::string value_of(const Tags& tags, const char* tag) {
    const auto found = tags.find(tag);
    return found == tags.end() ? std::string() : found->second;
}

// poll(2) says so of a pipe that nobody reads any more.
bool is_stdout_broken() {
    pollfd entry{STDOUT_FILENO, 0, 0};
    return poll(&entry, 1, 0) == 1 && (entry.revents & POLLERR) != 0;
}

// What a write of ours would have done.
int complain_of_stdout() {
    std::ignore = raise(SIGPIPE);
    errno = EPIPE;
    return complain_of_system("stdout");
}

// The companion does not say which errno a read would have had; one that breaks a stream is
// ECONNRESET for every program.
int exit_code_of_end(const Tags& status, const std::string& peer) {
    const std::string cause = value_of(status, "Error");
    const std::string state = value_of(status, "State");
    if (cause.empty() && (state == "RemoteClosed" || state == "Closed")) return 0;
    if (is_stdout_broken()) return complain_of_stdout();
    return complain_of({ECONNRESET, cause.empty() ? "the connection is over" : cause}, peer);
}

bool is_over(const Tags& status) {
    const std::string state = value_of(status, "State");
    return state == "RemoteClosed" || state == "Closed" || state == "Error";
}

}  // namespace

bool can_give_standard_descriptors() {
    return is_pipe(STDIN_FILENO, O_RDONLY) && is_pipe(STDOUT_FILENO, O_WRONLY);
}

// When the peer has closed, all that it said is in stdout. This process then ends, even if stdin
// has not, and the companion closes our side.
int wait_for_companion(internal::AttachClient& guest, const Tags& first, const std::string& peer) {
    Tags status = first;
    while (!is_over(status)) {
        const auto message = guest.wait(std::nullopt);
        if (!message) return complain_of({message.error().code, message.error().text}, peer);
        if (message->kind == AttachReply::Kind::end) {
            return complain_of({ENOTCONN, "the companion has ended"}, peer);
        }
        status = internal::parse_tags(message->text);
    }
    return exit_code_of_end(status, peer);
}

}  // namespace tlsfs::cmd
