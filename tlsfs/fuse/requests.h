// SPDX-License-Identifier: MIT
// FUSE requests as the device knows them: how they are answered, and how a signal reaches them.
#pragma once

#include <memory>

#include "connection/connection.h"
#include "connection/request.h"
#include "fuse/lowlevel.h"

namespace tlsfs {

[[nodiscard]] std::unique_ptr<ReadRequest> make_read(fuse_req_t req, Connection::Number number,
                                                     bool nonblocking, std::size_t size);
[[nodiscard]] std::unique_ptr<WriteRequest> make_write(fuse_req_t req, Connection::Number number,
                                                       bool nonblocking,
                                                       std::span<const std::byte> data);
[[nodiscard]] std::unique_ptr<CtlRequest> make_ctl(fuse_req_t req, Connection::Number number,
                                                   bool nonblocking,
                                                   std::span<const std::byte> data, Caller opener);
// Null for a null handle: the kernel asked for no wake-up.
[[nodiscard]] std::unique_ptr<Poller> make_poller(fuse_pollhandle* handle);

}  // namespace tlsfs
