// SPDX-License-Identifier: MIT
// What a client does: one function a file, each prints one JSON object between the driver's signs.
#pragma once

#include "options.h"
#include "stream.h"

namespace bench {

// --block N --count BYTES, --check 1: all bytes are checked at the other end.
void send_bulk(Transport& transport, const Options& options);
void receive_bulk(Transport& transport, const Options& options);
// --count BYTES of a file
void send_file(Transport& transport, const Options& options);
// --block N --count ROUND-TRIPS
void echo(Transport& transport, const Options& options);
// --threads N --milliseconds N
void handshakes(Transport& transport, const Options& options);
// --connections N --block N --milliseconds N, a thread a connection
void busy(Transport& transport, const Options& options);
// --connections N --count WAKE-UPS
void idle(Transport& transport, const Options& options);

}  // namespace bench
