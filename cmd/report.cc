// SPDX-License-Identifier: MIT
#include "report.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>

namespace tlsfs::cmd {

void say(const std::string& line) {
    // In one write, so that the lines of concurrent children stay whole.
    dprintf(STDERR_FILENO, "%s: %s\n", program_invocation_short_name, line.c_str());
}

int complain(int exit_code, const std::string& line) {
    say(line);
    return exit_code;
}

int complain_of_system(const std::string& what) {
    const char* cause = std::strerror(errno);
    return complain(kExitSystem, what + ": " + cause);
}

int exit_code_for(int error) {
    switch (error) {
        case EKEYREJECTED:
        case EKEYEXPIRED:
        case EKEYREVOKED:
        case EPROTO:
        case EBADMSG:
        case ECONNRESET:  // a stream cut short: TLS exists to tell it from a complete one
        case EINVAL:      // PEM or policy that no handshake can be made with
            return kExitTls;
        default:
            return kExitSystem;
    }
}

int complain_of(const Failure& why, const std::string& peer) {
    const std::string cause = why.text.empty() ? std::strerror(why.code) : why.text;
    return complain(exit_code_for(why.code), peer + ": " + cause);
}

int guarded(int (*command)(int, const char* const*), int argc, const char* const* argv) noexcept {
    try {
        return command(argc, argv);
    } catch (const std::exception& cause) {
        dprintf(STDERR_FILENO, "%s: %s\n", program_invocation_short_name, cause.what());
        return kExitSystem;
    }
}

std::string summary(const std::map<std::string, std::string>& tags) {
    const auto value = [&tags](const char* tag) {
        const auto found = tags.find(tag);
        return found == tags.end() ? std::string() : found->second;
    };
    const std::string peer = value("Peer");
    return value("Version") + " " + value("Cipher") + ", verified: " + value("Verify") +
           (peer.empty() ? "" : ", " + peer);
}

void announce(const Talk& talk, const std::map<std::string, std::string>& tags) {
    if (talk.verbose) say(summary(tags));
    if (!talk.status) return;
    for (const auto& [tag, value] : tags) {
        dprintf(STDERR_FILENO, "%s: %s\n", tag.c_str(), value.c_str());
    }
}

}  // namespace tlsfs::cmd
