// SPDX-License-Identifier: MIT
// A connection's other half in the kernel module, where it was opened through the module. What the
// calls mean is in kmod/tlsdev.h; this is how a connection says it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/result.h"
#include "core/unique_fd.h"

namespace tlsfs {

// What the module knows of a connection that it carries.
struct KernelStatus {
    bool read_over = false;   // read_error says how; 0: the peer's close_notify
    bool write_over = false;  // close, hangup, or a broken connection
    int read_error = 0;
    std::optional<int> alert_in;
    std::uint64_t data_in = 0, data_out = 0;
    std::uint64_t wire_in = 0, wire_out = 0;        // the handshake's bytes too
    std::uint64_t records_in = 0, records_out = 0;  // the next records' numbers
};

// No call waits, and none needs an answer but those that give one.
class KernelEnd {
 public:
    KernelEnd() = default;
    KernelEnd(const KernelEnd&) = delete;
    KernelEnd& operator=(const KernelEnd&) = delete;
    virtual ~KernelEnd() = default;

    virtual void busy() = 0;          // a line waits for a peer
    virtual void idle(int code) = 0;  // none does any more; what failed, or 0
    [[nodiscard]] virtual Result<> carry(const UniqueFd& ktls_socket) = 0;
    virtual void left_to_us() = 0;  // the engine is user: data is our own file
    virtual void failed(int code) = 0;
    [[nodiscard]] virtual Result<> end_writing() = 0;  // `close`
    [[nodiscard]] virtual Result<> end() = 0;          // `hangup`
    // For the companion after this one: what `status` says.
    virtual void remember(const std::string& status) = 0;
    [[nodiscard]] virtual std::optional<KernelStatus> look() const = 0;
    virtual void forget() = 0;  // the connection is over, its number free
};

}  // namespace tlsfs
