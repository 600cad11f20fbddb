// SPDX-License-Identifier: MIT
// The texts of `status` and `stats`.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "core/settings.h"
#include "core/state.h"

namespace tlsfs {

enum class Verification : std::uint8_t { unknown, ok, none, pin };

// What is known of a connection. Empty strings are unknown, and left out of the text.
struct StatusFields {
    State state = State::fresh;
    std::string engine;
    std::optional<Role> role;
    std::string version, cipher, group, alpn, name;
    Verification verification = Verification::unknown;
    std::optional<bool> resumed;
    std::string peer;         // the certificate's subject, RFC 2253
    std::string peer_sha256;  // lower-case hexadecimal
    std::string local, remote;
    uid_t owner = 0;
    std::string error;
};

struct Stats {
    std::uint64_t data_in = 0, data_out = 0;  // bytes of plaintext
    std::uint64_t wire_in = 0, wire_out = 0;  // bytes on the transport
    std::uint64_t records_in = 0, records_out = 0;
    std::uint64_t handshake_microseconds = 0;
    std::uint64_t key_updates = 0;  // both directions
};

[[nodiscard]] const char* role_word(Role role);

// `Tag: value` lines.
[[nodiscard]] std::string status_text(const StatusFields& fields);

// What status_text() made, read again; the state is not taken. Lines that are not understood are
// left out.
[[nodiscard]] StatusFields parse_status(const std::string& text);

// `Name: number` lines.
[[nodiscard]] std::string stats_text(const Stats& stats);

// `text` with all but printable ASCII replaced: what a peer chose stays on its line, and the file
// is text in any locale.
[[nodiscard]] std::string printable(std::string text);

}  // namespace tlsfs
