// SPDX-License-Identifier: MIT
// What the commands say on stderr, and how they exit.
#pragma once

#include <map>
#include <string>

#include "tlsclient.hpp"

namespace tlsfs::cmd {

inline constexpr int kExitUsage = 100;
inline constexpr int kExitSystem = 111;  // of the system or the network; trying again may help
inline constexpr int kExitTls = 98;      // of certificates, keys, policy and the protocol

// One line on stderr, under the command's name.
void say(const std::string& line);

// The same, and returns `exit_code` for the caller to return.
int complain(int exit_code, const std::string& line);

// The failure of the system call just made.
int complain_of_system(const std::string& what);

[[nodiscard]] int exit_code_for(int error);

// Says why there is no connection with `peer`.
int complain_of(const Failure& why, const std::string& peer);

// Runs a command. What is thrown, memory that there is not or a bug, ends it as a system failure.
int guarded(int (*command)(int, const char* const*), int argc, const char* const* argv) noexcept;

struct Talk {
    bool verbose = false;  // one line about the connection
    bool status = false;   // all that is known of it
};

// The version, the cipher, and who the peer is, from the tags of status.
[[nodiscard]] std::string summary(const std::map<std::string, std::string>& tags);

void announce(const Talk& talk, const std::map<std::string, std::string>& tags);

}  // namespace tlsfs::cmd
