// SPDX-License-Identifier: MIT
// The grammar of `ctl`: bytes in, commands out. See tls(4).
//
// One write carries lines; a line is a verb and its words, separated by blanks; a word with blanks
// is quoted 'like this', and '' inside is one quote.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/result.h"
#include "core/settings.h"
#include "core/state.h"

namespace tlsfs {

namespace command {
struct Fd {
    int read = -1;
    int write = -1;  // the same number where one descriptor serves both ways
};
struct Plain {
    int read = -1;
    int write = -1;  // as in Fd
};
struct Dial {
    std::string host, port;  // or
    std::string path;        // a Unix socket's
};
// One of the verbs that only set something.
struct Set {
    Choices choices;  // as they are with this line
};
struct Client {
    std::optional<std::string> name;
};
struct Server {};
struct KeyUpdate {};
struct Close {};
struct Hangup {};
}  // namespace command

using Command =
    std::variant<command::Fd, command::Plain, command::Dial, command::Set, command::Client,
                 command::Server, command::KeyUpdate, command::Close, command::Hangup>;

struct ParsedLine {
    Command command;
    std::string_view verb;  // static storage
    StateSet allowed;       // the states in which the verb may be said
};

// EINVAL if one write carries more lines than it may.
[[nodiscard]] Result<> check_lines(std::string_view text);

// Takes the first line off `text`, its newline too. The last line of a write needs none.
[[nodiscard]] std::string_view take_line(std::string_view& text);

// `now`: what was set before. EINVAL with a text that names what is wrong.
[[nodiscard]] Result<ParsedLine> parse_line(std::string_view line, const Choices& now = {});

// The words of a line, unquoted. EINVAL for an open quote.
[[nodiscard]] Result<std::vector<std::string>> split_words(std::string_view line);

}  // namespace tlsfs
