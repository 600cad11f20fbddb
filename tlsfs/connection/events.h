// SPDX-License-Identifier: MIT
// What the parts of a connection tell it. Called on any thread, without the connection's lock.
#pragma once

#include <memory>

#include "core/result.h"
#include "core/unique_fd.h"
#include "io/dial.h"
#include "io/reactor.h"

namespace tlsfs {

// ready(): the transport is, during the handshake.
struct ConnectionEvents : Reactor::Handler, std::enable_shared_from_this<ConnectionEvents> {
    virtual void dialled(const std::shared_ptr<Cancellation>& attempt,
                         Result<UniqueFd> outcome) = 0;
    virtual void dial_timed_out() = 0;
    virtual void continue_handshake() = 0;  // on a thread that may wait
    virtual void handshake_timed_out() = 0;
    virtual void channel_changed() = 0;  // its look() has something new to say
};

}  // namespace tlsfs
