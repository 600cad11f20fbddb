// SPDX-License-Identifier: MIT
// After the last close: what was written still goes out, then the carrier is closed.
#pragma once

#include <memory>

#include "engine/record_stream.h"
#include "io/reactor.h"

namespace tlsfs {

// Never waits. Keeps `stream` until all was delivered, or for 30 seconds.
void linger(Reactor& reactor, std::unique_ptr<RecordStream> stream);

}  // namespace tlsfs
