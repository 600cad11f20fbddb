// SPDX-License-Identifier: MIT
#include "io/private_net.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>

#include <limits>
#include <string_view>

#include "io/netlink.h"

namespace tlsfs {
namespace {

constexpr std::size_t kMaxZones = 64;

bool set_sysctl(const char* path, std::string_view value) {
    const UniqueFd file(open(path, O_WRONLY | O_CLOEXEC));
    return file.valid() &&
           write(file.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

// What a program has sent is to lie in our receive queue at once, not in its send queue: when it
// exits with unread input, its kernel drops the send queue. So we receive more than it can send.
bool enlarge_buffers() {
    return set_sysctl("/proc/sys/net/ipv4/tcp_rmem", "4096 1048576 6291456") &&
           set_sysctl("/proc/sys/net/ipv4/tcp_wmem", "4096 262144 262144");
}

// Each of these makes things better and none is needed. /proc/sys may be read-only.
void tune() {
    // Old pairs are not in the way of new ones with the same four numbers.
    set_sysctl("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0");
    // The machine's choice may pace what it sends. Nothing is lost here.
    set_sysctl("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
    set_sysctl("/proc/sys/net/ipv4/tcp_no_metrics_save", "1");
    set_sysctl("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "0");
    set_sysctl("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0");
}

Result<> leave_with(int namespaces) {
    if (unshare(namespaces) != 0) return system_failure("network namespace");
    return {};
}

}  // namespace

Result<PrivateNet> PrivateNet::leave_for_first() {
    if (!leave_with(CLONE_NEWUSER | CLONE_NEWNET)) {
        if (auto left = leave_with(CLONE_NEWNET); !left) return tl::unexpected(left.error());
    }
    return furnish();
}

Result<PrivateNet> PrivateNet::leave_for_another() {
    if (auto left = leave_with(CLONE_NEWNET); !left) return tl::unexpected(left.error());
    return furnish();
}

Result<PrivateNet> PrivateNet::furnish() {
    PrivateNet net;
    net.has_large_buffers_ = enlarge_buffers();
    tune();
    if (auto up = netlink::bring_up(kLoopbackIndex); !up) return tl::unexpected(up.error());
    if (auto local = netlink::make_all_local(AF_INET, kLoopbackIndex); !local) {
        return tl::unexpected(local.error());
    }
    // A kernel without IPv6 has no IPv6 connections either.
    (void)netlink::make_all_local(AF_INET6, kLoopbackIndex);
    net.zones_.insert(kLoopbackIndex);
    net.handle_ = UniqueFd(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    return net;
}

Result<> PrivateNet::enter() const {
    if (!handle_.valid()) return failure(EOPNOTSUPP, "network namespace: there is no /proc");
    if (setns(handle_.get(), CLONE_NEWNET) != 0) return system_failure("network namespace");
    return {};
}

bool PrivateNet::has_zone(std::uint32_t index) {
    if (zones_.contains(index)) return true;
    if (index == 0 || index > std::numeric_limits<int>::max() || impossible_zones_.contains(index))
        return false;
    if (zones_.size() + impossible_zones_.size() >= kMaxZones) return false;
    for (const char* kind : {"dummy", "ifb", "bridge"}) {
        if (!netlink::make_device(index, kind)) continue;
        if (netlink::bring_up(index) && netlink::make_all_local(AF_INET6, index, true)) {
            zones_.insert(index);
            return true;
        }
        break;
    }
    impossible_zones_.insert(index);
    return false;
}

}  // namespace tlsfs
