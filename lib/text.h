// SPDX-License-Identifier: MIT
// The texts that go into ctl and come out of status and stats.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace tlsfs::internal {

// `word` as a ctl line takes it, quoted where needed. Nothing where no quoting helps: a newline
// would begin the next line, a NUL is no part of any.
[[nodiscard]] std::optional<std::string> quoted(std::string_view word);

// `text` with control characters (C0, DEL and, in UTF-8, C1) replaced: much of it was chosen by the
// peer, and it may end on a terminal or in an environment variable.
[[nodiscard]] std::string printable(std::string text);

// `Tag: value` lines, values made printable. What is no such line is left out.
[[nodiscard]] std::map<std::string, std::string> parse_tags(std::string_view text);

}  // namespace tlsfs::internal
