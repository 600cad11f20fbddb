// SPDX-License-Identifier: MIT
#include "core/state.h"

#include <doctest/doctest.h>

#include <array>

using namespace tlsfs;
using S = State;
using E = Event;

namespace {

constexpr std::array kStates{S::fresh,        S::handshaking, S::established, S::remote_closed,
                             S::local_closed, S::closed,      S::error};
constexpr std::array kEvents{E::handshake,   E::ready,  E::remote_close,
                             E::local_close, E::hangup, E::fail};

// One row a state, one column an event, in the order above; nothing where there is no step.
constexpr std::optional<S> no;
constexpr std::optional<S> kTable[7][6]{
    {S::handshaking, no, no, no, S::closed, S::error},
    {no, S::established, no, no, S::closed, S::error},
    {no, no, S::remote_closed, S::local_closed, S::closed, S::error},
    {no, no, no, S::closed, S::closed, S::error},
    {no, no, S::closed, no, S::closed, S::error},
    {no, no, no, no, S::closed, no},
    {no, no, no, no, S::closed, S::error},
};

}  // namespace

TEST_CASE("state: the whole table") {
    for (std::size_t s = 0; s < kStates.size(); ++s) {
        for (std::size_t e = 0; e < kEvents.size(); ++e) {
            CAPTURE(s);
            CAPTURE(e);
            CHECK(next_state(kStates[s], kEvents[e]) == kTable[s][e]);
        }
    }
}

TEST_CASE("state: names are the contract's") {
    const std::array names{"New",         "Handshaking", "Established", "RemoteClosed",
                           "LocalClosed", "Closed",      "Error"};
    for (std::size_t s = 0; s < kStates.size(); ++s) CHECK(state_name(kStates[s]) == names[s]);
}

TEST_CASE("state: sets") {
    constexpr StateSet set{S::fresh, S::error};
    CHECK(set.has(S::fresh));
    CHECK(set.has(S::error));
    CHECK_FALSE(set.has(S::closed));
    CHECK_FALSE(StateSet().has(S::fresh));
}
