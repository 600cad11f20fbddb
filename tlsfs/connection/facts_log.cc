// SPDX-License-Identifier: MIT
// What the log learns of a connection. Its owner causes these lines, so their rate is bounded; what
// they hold of the network is made printable where they leave (core/log).
#include <fmt/format.h>

#include "connection/facts.h"

namespace tlsfs {

void Facts::log(LogLevel level, std::string_view what) const {
    if (!log_.wants(level)) return;
    std::string text = fmt::format("connection {} of user {}", number, owner.uid);
    // Until the handshake a dialled host is all there is.
    const std::string& name = fields.name.empty() ? dialled_host : fields.name;
    if (!name.empty()) text += ", " + name;
    if (!fields.remote.empty()) text += " at " + fields.remote;
    log_.say_for(owner.uid, level, fmt::format("{}: {}", text, what));
}

void Facts::log_state(State before) const {
    if (state_ == before) return;
    log(LogLevel::debug, fmt::format("{} -> {}", state_name(before), state_name(state_)));
}

// A line that fails is the program's affair, unless it leaves the connection without a handshake,
// or wants what the administrator does not.
void Facts::log_refusal(std::string_view verb, const Error& error) const {
    if (state_ == State::error) return;  // said already
    const bool ends_it = !trial && (verb == "dial" || verb == "client" || verb == "server");
    const bool forbidden = error.code == EACCES;
    log(ends_it || forbidden ? LogLevel::warning : LogLevel::info,
        error.text.starts_with(verb) ? error.text : fmt::format("{}: {}", verb, error.text));
}

void Facts::log_established() const {
    log(LogLevel::info,
        fmt::format("{} {}, engine {}", fields.version, fields.cipher, fields.engine));
}

}  // namespace tlsfs
