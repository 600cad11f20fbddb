// SPDX-License-Identifier: MIT
// The states of a connection, as `status` names them, and every step between them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace tlsfs {

enum class State : std::uint8_t {
    fresh,          // New: nothing but settings and, perhaps, a transport
    handshaking,    // Handshaking
    established,    // Established: both directions open
    remote_closed,  // RemoteClosed: the peer sent close_notify
    local_closed,   // LocalClosed: we sent close_notify
    closed,         // Closed: both did, or `hangup`
    error,          // Error: it failed; the `Error` line says why
};

enum class Event : std::uint8_t { handshake, ready, remote_close, local_close, hangup, fail };

// The state that `event` leads to; nothing where the table knows no such step.
[[nodiscard]] std::optional<State> next_state(State from, Event event);

[[nodiscard]] std::string_view state_name(State state);

// A set of states, for tables that say where something is allowed.
class StateSet {
 public:
    template <class... S>
    explicit constexpr StateSet(S... states) : bits_((0U | ... | bit(states))) {}
    [[nodiscard]] constexpr bool has(State state) const { return (bits_ & bit(state)) != 0; }

 private:
    static constexpr unsigned bit(State state) { return 1U << static_cast<unsigned>(state); }
    unsigned bits_;
};

}  // namespace tlsfs
