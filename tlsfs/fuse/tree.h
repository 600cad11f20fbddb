// SPDX-License-Identifier: MIT
// The tree of the contract as a table, and its inode numbers. Pure: no FUSE, no connection.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/number.h"

namespace tlsfs {

enum class Node : std::uint8_t {
    root = 1,  // FUSE_ROOT_ID
    clone,
    ciphers,
    engines,
    attach,
    kernel_clone,  // the module's devices, in place of clone, ctl and data
    directory,     // N/
    ctl,
    kernel_ctl,
    data,
    kernel_data,
    ca,
    cert,
    key,
    peer,
    status,
    stats,
};

struct NodeEntry {
    Node node;
    std::string_view name;
    mode_t mode;
    bool stream;  // bytes without positions; see kStreamSize
};

// The kernel lets two writes of one inode run side by side only below the inode's size.
inline constexpr off_t kStreamSize = off_t{1} << 31;

// What one inode number means.
//
// clone and data have many inodes: each lookup makes a new one, and `instance` tells them apart. On
// kernels before 6.2 the writers of one inode wait for each other, and every connection's ctl is an
// open clone; and a program with data as its input and its output (cat does) takes two opened files
// of one inode for a mistake.
struct Place {
    Node node = Node::root;
    std::uint32_t number = 0;    // the connection's, from Node::directory on
    std::uint32_t instance = 0;  // 24 bits
    bool operator==(const Place&) const = default;
};

[[nodiscard]] constexpr std::uint64_t inode_of(Place place) {
    const std::uint64_t number = place.node < Node::directory ? 0 : std::uint64_t{place.number} + 1;
    return number << 32U | (std::uint64_t{place.instance} & 0xffffffU) << 8U |
           static_cast<std::uint8_t>(place.node);
}

[[nodiscard]] constexpr Place place_of(std::uint64_t inode) {
    const auto node = static_cast<Node>(inode & 0xffU);
    const auto number = static_cast<std::uint32_t>(inode >> 32U);
    return {node, node < Node::directory ? 0 : number - 1,
            static_cast<std::uint32_t>(inode >> 8U) & 0xffffffU};
}

[[nodiscard]] constexpr bool has_instances(Node node) {
    return node == Node::clone || node == Node::data;
}

// What the name stands for where the module serves it.
[[nodiscard]] constexpr Node in_kernel(Node node) {
    switch (node) {
        case Node::clone:
            return Node::kernel_clone;
        case Node::ctl:
            return Node::kernel_ctl;
        case Node::data:
            return Node::kernel_data;
        default:
            return node;
    }
}

[[nodiscard]] const NodeEntry& entry_of(Node node);
[[nodiscard]] std::span<const NodeEntry> top_entries();
[[nodiscard]] std::span<const NodeEntry> connection_entries();

// The entry of that name in the root or in a connection's directory; null if there is none.
[[nodiscard]] const NodeEntry* find_entry(std::span<const NodeEntry> entries,
                                          std::string_view name);

struct Owner {
    uid_t uid = 0;
    gid_t gid = 0;
};

// `device`: what a node of the module stands for.
[[nodiscard]] struct stat attributes(Place place, Owner owner, dev_t device, time_t when);

}  // namespace tlsfs
