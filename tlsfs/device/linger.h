// SPDX-License-Identifier: MIT
// After the last close: what was written still goes out, then the carrier is closed.
#pragma once

#include <memory>

#include "engine/record_stream.h"
#include "io/reactor.h"

namespace tlsfs {

// Never waits. Keeps `stream` until all was delivered, or nothing has gone out for 30 seconds, or
// for 5 minutes.
void linger(Reactor& reactor, std::unique_ptr<RecordStream> stream);

[[nodiscard]] bool anything_lingers();

}  // namespace tlsfs
