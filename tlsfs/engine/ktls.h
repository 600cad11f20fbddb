// SPDX-License-Identifier: MIT
// The hand-over of a TCP socket to the kernel's TLS.
#pragma once

#include <cstdint>

#include "core/result.h"
#include "engine/traffic_keys.h"

namespace tlsfs {

// Where the record layer stands: the numbers of the next records under the traffic keys.
struct RecordNumbers {
    std::uint64_t write = 0, read = 0;
};

// Sets kTLS for both directions. EOPNOTSUPP and a reason: the kernel or the socket cannot do it,
// and the socket is as it was. Any other failure leaves the socket of no use to anybody.
[[nodiscard]] Result<> set_ktls(int socket, const SSL* ssl, const TrafficKeys& keys,
                                RecordNumbers next);

// True if the socket is TCP, connected, and its kernel may be asked for TLS.
[[nodiscard]] Result<> check_ktls_transport(int socket);

}  // namespace tlsfs
