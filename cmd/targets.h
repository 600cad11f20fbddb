// SPDX-License-Identifier: MIT
// Where a tunnel connects to.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "socket_address.h"

namespace tlsfs::cmd {

struct Target {
    std::string text;  // as it was given, for messages
    HostPort address;
    std::string path;  // of a Unix socket, in place of the address
};

// [HOST]:PORT, /PATH or unix:PATH.
[[nodiscard]] std::optional<Target> parse_target(const std::string& text);

// Several of which one is enough.
class Targets {
 public:
    enum class Order : std::uint8_t { first, round_robin };

    // `limit`: for each address of each.
    Targets(std::vector<Target> targets, Order order, std::chrono::milliseconds limit)
        : targets_(std::move(targets)), order_(order), limit_(limit) {}

    // In the order in which they are to be tried now.
    [[nodiscard]] std::vector<const Target*> next_order();
    [[nodiscard]] std::chrono::milliseconds limit() const { return limit_; }

 private:
    std::vector<Target> targets_;
    Order order_;
    std::chrono::milliseconds limit_;
    std::size_t turn_ = 0;
};

}  // namespace tlsfs::cmd
