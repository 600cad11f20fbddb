// SPDX-License-Identifier: MIT
// Descriptors that a program gives, for the transport or the plain side.
#pragma once

#include <sys/types.h>

#include "connection/services.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "io/byte_stream.h"

namespace tlsfs {

// The stream that they are; `write` invalid: `read` serves both ways. What is refused is given
// back.
[[nodiscard]] Result<ByteStream> adopt_given(const Services& services, uid_t user, UniqueFd read,
                                             UniqueFd write);

// Closes in the background: were it a file of this mount, close(2) here would wait for this very
// thread.
void give_back(const Services& services, uid_t user, UniqueFd fd);

}  // namespace tlsfs
