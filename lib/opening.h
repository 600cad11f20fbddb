// SPDX-License-Identifier: MIT
// A connection by one `open` of attach.
#pragma once

#include <string>
#include <string_view>

#include "attach_client.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "mount.h"
#include "plan.h"
#include "tlsclient.hpp"

namespace tlsfs::internal {

// Descriptors that stay their owner's; one and the same if it serves both ways.
struct Streams {
    int read_fd = -1;
    int write_fd = -1;
};

// A connection after its handshake.
struct Opened {
    AttachClient guest;
    unsigned number;
    std::string status;  // the lines of status as they are now
    UniqueFd data;       // the data socket, unless a plain side was given
};

class Opening {
 public:
    // Opens the PEM files, finds the companion (and starts one if there is none), and dials where
    // the transport says so. What dialling took is taken off the plan's time.
    [[nodiscard]] static Result<Opening> prepare(const Transport& transport, Plan plan);

    // Has the companion relay between the peer and these. Closing the guest's socket then ends the
    // connection.
    void relay_to(Streams plain) { plain_ = plain; }

    // Says it and waits for the end of the handshake. Once. EOPNOTSUPP, before any record was sent,
    // where the companion can make no data socket.
    [[nodiscard]] Result<Opened> open();

    [[nodiscard]] const Plan& plan() const { return plan_; }
    [[nodiscard]] const Mount& mount() const { return mount_; }
    [[nodiscard]] Streams transport() const { return transport_; }

 private:
    Opening(Plan plan, AttachRequest request, Mount mount)
        : plan_(std::move(plan)), request_(std::move(request)), mount_(std::move(mount)) {}
    [[nodiscard]] Result<> dial_for(const std::string& target);
    [[nodiscard]] Result<Opened> try_once();

    Plan plan_;
    AttachRequest request_;
    Mount mount_;
    UniqueFd dialled_;
    Streams transport_;
    Streams plain_;
};

// A request with everything that goes before the transport. Opens the plan's PEM files.
[[nodiscard]] Result<AttachRequest> begin_request(std::string_view first_line, const Plan& plan);

// For who polls for the answer: finds the companion, starts one if there is none, and sends it the
// request. An EPIPE from the guest later means that the companion ended and did not read it.
[[nodiscard]] Result<AttachClient> send_to_companion(const AttachRequest& request);

// Would a connection by this plan get as far as its handshake?
[[nodiscard]] Result<> try_out(const Plan& plan);

}  // namespace tlsfs::internal
