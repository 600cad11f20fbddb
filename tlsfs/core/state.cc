// SPDX-License-Identifier: MIT
#include "core/state.h"

#include <array>

namespace tlsfs {
namespace {

struct Step {
    State from;
    Event event;
    State to;
};

// hangup and fail lead out of every state and are not repeated here.
constexpr std::array kSteps{
    Step{State::fresh, Event::handshake, State::handshaking},
    Step{State::handshaking, Event::ready, State::established},
    Step{State::established, Event::remote_close, State::remote_closed},
    Step{State::established, Event::local_close, State::local_closed},
    Step{State::remote_closed, Event::local_close, State::closed},
    Step{State::local_closed, Event::remote_close, State::closed},
};

constexpr std::array<std::string_view, 7> kNames{
    "New", "Handshaking", "Established", "RemoteClosed", "LocalClosed", "Closed", "Error",
};

}  // namespace

std::optional<State> next_state(State from, Event event) {
    if (event == Event::hangup) return State::closed;
    if (event == Event::fail && from != State::closed) return State::error;
    for (const Step& step : kSteps) {
        if (step.from == from && step.event == event) return step.to;
    }
    return std::nullopt;
}

std::string_view state_name(State state) {
    return kNames.at(static_cast<std::size_t>(state));
}

}  // namespace tlsfs
