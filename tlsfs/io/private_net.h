// SPDX-License-Identifier: MIT
// A network namespace in which every IPv4 and IPv6 address is local, and which leads nowhere.
//
// For a process that does nothing else and has one thread: entering is for the whole of it.
#pragma once

#include <cstdint>
#include <set>

#include "core/result.h"
#include "core/unique_fd.h"

namespace tlsfs {

class PrivateNet {
 public:
    // Leaves the caller's network namespace. A user namespace is made with it where that is
    // allowed, even for root: the rights that are left are then worth nothing outside.
    [[nodiscard]] static Result<PrivateNet> leave_for_first();
    // Makes one more and enters it.
    [[nodiscard]] static Result<PrivateNet> leave_for_another();

    // Enters it again.
    [[nodiscard]] Result<> enter() const;

    // False where net.ipv4.tcp_rmem could not be set: sockets then need SO_RCVBUF.
    [[nodiscard]] bool has_large_buffers() const { return has_large_buffers_; }

    // True if link-local addresses can have this zone index here. A device of that index is made
    // when it is first asked for.
    [[nodiscard]] bool has_zone(std::uint32_t index);

 private:
    [[nodiscard]] static Result<PrivateNet> furnish();

    UniqueFd handle_;
    bool has_large_buffers_ = false;
    std::set<std::uint32_t> zones_, impossible_zones_;
};

// The index of the loopback device, in every network namespace.
inline constexpr std::uint32_t kLoopbackIndex = 1;

}  // namespace tlsfs
