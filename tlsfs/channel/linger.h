// SPDX-License-Identifier: MIT
// The end of a transport. What was encrypted still goes out, then the descriptor is closed.
//
// close(2) must wait for two things. Unread input would turn it into a reset, and a reset may
// destroy what is under way to the peer; so input is read and discarded. And a peer that is still
// sending when it gets an alert must be able to read it, so after an alert input is discarded until
// the peer's end or for half a second (RFC 8446 section 6.2 has it read the alert; RFC 2525
// section 2.17 says what a reset does).
#pragma once

#include "io/byte_queue.h"
#include "io/carrier.h"
#include "io/reactor.h"

namespace tlsfs {

// Never waits. Keeps `transport` until `unsent` is delivered, or nothing has gone out for 30
// seconds, or for 5 minutes in all.
void linger(Reactor& reactor, Carrier transport, ByteQueue unsent, bool after_alert);

[[nodiscard]] bool anything_lingers();

}  // namespace tlsfs
