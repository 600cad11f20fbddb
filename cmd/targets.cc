// SPDX-License-Identifier: MIT
#include "targets.h"

namespace tlsfs::cmd {

std::optional<Target> parse_target(const std::string& text) {
    if (const auto path = parse_socket_path(text)) return Target{text, {}, *path};
    if (const auto address = parse_host_port(text)) return Target{text, *address, {}};
    return std::nullopt;
}

std::vector<const Target*> Targets::next_order() {
    const std::size_t start = order_ == Order::round_robin ? turn_++ : 0;
    std::vector<const Target*> order;
    order.reserve(targets_.size());
    for (std::size_t i = 0; i < targets_.size(); ++i) {
        order.push_back(&targets_[(start + i) % targets_.size()]);
    }
    return order;
}

}  // namespace tlsfs::cmd
