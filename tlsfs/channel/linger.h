// SPDX-License-Identifier: MIT
// The end of a transport. What was encrypted still goes out, then the descriptor is closed.
//
// close(2) must wait for two things. Unread input would turn it into a reset, and a reset may
// destroy what is under way to the peer; so input is read and discarded. And a peer that is still
// sending when it gets an alert must be able to read it, so after an alert input is discarded until
// the peer's end or for half a second (RFC 8446 section 6.2 has it read the alert; RFC 2525
// section 2.17 says what a reset does).
#pragma once

#include <chrono>

#include "io/byte_queue.h"
#include "io/byte_stream.h"
#include "io/reactor.h"

namespace tlsfs {

// How long bytes that nobody waits for any more are kept: while some go out, but not for ever.
inline constexpr std::chrono::milliseconds kLongestStill{30'000};
inline constexpr std::chrono::milliseconds kLongestKept{300'000};
// How long there is at most between two looks at a peer of which no event tells.
inline constexpr std::chrono::milliseconds kLongestPause{200};

// Never waits. Keeps `transport` until `unsent` is delivered, or one of the limits above is
// reached.
void linger(Reactor& reactor, ByteStream transport, ByteQueue unsent, bool after_alert);

[[nodiscard]] bool anything_lingers();

}  // namespace tlsfs
