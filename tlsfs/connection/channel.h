// SPDX-License-Identifier: MIT
// What carries an established connection: this process (connection/user_channel) or the kernel
// (connection/kernel_channel). The connection's lock is held by all who call.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "channel/relay.h"
#include "connection/answers.h"
#include "core/result.h"
#include "core/status.h"

namespace tlsfs {

class UserChannel;

class Channel {
 public:
    Channel() = default;
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;
    virtual ~Channel() = default;

    // Null: the engine is kernel, and there is no plain side here.
    [[nodiscard]] virtual UserChannel* user() { return nullptr; }

    // What became of it. Nothing: that cannot be found out.
    [[nodiscard]] virtual std::optional<ChannelState> look() const = 0;
    virtual void add_stats(Stats& stats) const = 0;
    [[nodiscard]] virtual Result<std::string> peer_chain() const = 0;

    virtual void set_idle_limit(std::chrono::milliseconds limit) = 0;
    [[nodiscard]] virtual Result<> update_keys() = 0;
    [[nodiscard]] virtual Result<> close(Answers& answers) = 0;
    [[nodiscard]] virtual Result<> hangup(Answers& answers) = 0;
    virtual void release(Answers& answers) = 0;  // after the connection's last close
};

}  // namespace tlsfs
