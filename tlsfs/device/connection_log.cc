// SPDX-License-Identifier: MIT
// What the log learns of a connection. Its owner causes these lines, so their rate is bounded; what
// they hold of the network is made printable where they leave (core/log).
#include <fmt/format.h>

#include "device/connection.h"

namespace tlsfs {

void Connection::log(LogLevel level, std::string_view what) const {
    if (!services_.log.wants(level)) return;
    std::string text = fmt::format("connection {} of user {}", number_, owner_.uid);
    // Until the handshake a dialled host is all there is.
    const std::string& name = facts_.name.empty() ? default_name_ : facts_.name;
    if (!name.empty()) text += ", " + name;
    if (!facts_.remote.empty()) text += " at " + facts_.remote;
    services_.log.say_for(owner_.uid, level, fmt::format("{}: {}", text, what));
}

void Connection::log_state(State before) const {
    if (state_ == before) return;
    log(LogLevel::debug, fmt::format("{} -> {}", state_name(before), state_name(state_)));
}

// A line that fails is the program's affair, unless it leaves the connection without a handshake,
// or wants what the administrator does not.
void Connection::log_refusal(std::string_view verb, const Error& error) const {
    if (state_ == State::error) return;  // said already
    const bool ends_it = !trial_ && (verb == "dial" || verb == "client" || verb == "server");
    const bool forbidden = error.code == EACCES;
    log(ends_it || forbidden ? LogLevel::warning : LogLevel::info,
        error.text.starts_with(verb) ? error.text : fmt::format("{}: {}", verb, error.text));
}

void Connection::log_established() const {
    log(LogLevel::info,
        fmt::format("{} {}, engine {}", facts_.version, facts_.cipher, facts_.engine));
}

}  // namespace tlsfs
