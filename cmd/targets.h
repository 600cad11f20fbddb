// SPDX-License-Identifier: MIT
// Where a tunnel connects to.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"
#include "listener.h"
#include "waiting.h"

namespace tlsfs::cmd {

struct Target {
    std::string text;  // as it was given, for messages
    HostPort address;
    std::string path;  // of a Unix socket, in place of the address
};

// [HOST]:PORT, /PATH or unix:PATH.
[[nodiscard]] std::optional<Target> parse_target(const std::string& text);

struct Connected {
    UniqueFd socket_fd;
    const Target* target;
};

// Several of which one is enough. Distinct threads may connect at the same time.
class Targets {
 public:
    enum class Order : std::uint8_t { first, round_robin };

    Targets(std::vector<Target> targets, Order order, std::chrono::milliseconds limit)
        : targets_(std::move(targets)), order_(order), limit_(limit) {}

    // Tries one after the other, each address of each for `limit` at most, and says which did not
    // answer. Names are looked up anew each time. Without success: the last one's failure.
    [[nodiscard]] Result<Connected> connect(const Event& call_off);

 private:
    std::vector<Target> targets_;
    Order order_;
    std::chrono::milliseconds limit_;
    std::atomic<std::size_t> turn_ = 0;
};

}  // namespace tlsfs::cmd
