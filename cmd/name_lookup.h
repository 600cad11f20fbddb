// SPDX-License-Identifier: MIT
// The addresses of a host, looked up without waiting.
#pragma once

#include <memory>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"
#include "socket_address.h"

namespace tlsfs::cmd {

using Addresses = std::vector<SocketAddress>;

// Of a host that is an address already, or empty: needs no lookup. Empty if it is a name.
[[nodiscard]] Addresses numeric_addresses(const HostPort& place);

// getaddrinfo(3) blocks and cannot be cancelled: it runs in a thread of its own, which is abandoned
// with this object.
class NameLookup {
 public:
    explicit NameLookup(const HostPort& place);  // throws std::system_error

    // Readable when the lookup is over.
    [[nodiscard]] int fd() const;

    // Once, when fd() is readable.
    [[nodiscard]] Result<Addresses> take();

 private:
    struct Shared;
    std::shared_ptr<Shared> shared_;
};

}  // namespace tlsfs::cmd
