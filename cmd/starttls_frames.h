// SPDX-License-Identifier: MIT
// The lines and messages that STARTTLS is negotiated with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace tlsfs::cmd {

enum class Framing : std::uint8_t {
    line,         // to a line feed
    tagged,       // a line that begins with a tag (IMAP)
    byte,         // one byte
    eight_bytes,  // a request of PostgreSQL without content
    ldap,         // an LDAPMessage, BER
};

struct Frame {
    std::string tag;   // which an answer repeats
    std::string text;  // without tag and line end. ldap: the OID of an extended request; `success`
                       // of an extended response, or the number of its result
};

inline constexpr std::string_view kFirstTag = "\x01";  // of our own requests; IMAP's are in texts

// The first frame of `bytes`, which is then removed from them; nothing if it is not complete.
// EPROTO if it is malformed or larger than `most`.
[[nodiscard]] Result<std::optional<Frame>> take_frame(Framing framing, std::string_view& bytes,
                                                      std::size_t most);

// `text` as it is sent. A `%` in a line stands for the tag; around an LDAP operation there is a
// message.
[[nodiscard]] std::string framed(Framing framing, std::string_view tag, std::string_view text);

}  // namespace tlsfs::cmd
