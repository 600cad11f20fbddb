// SPDX-License-Identifier: MIT
#include "fuse/tree.h"

#include <algorithm>
#include <array>

namespace tlsfs {
namespace {

// Writable by who mounts, because bind(2) makes `attach` in it; nothing else can be made.
constexpr NodeEntry kRoot{Node::root, "", S_IFDIR | 0755, false};
constexpr NodeEntry kDirectory{Node::directory, "", S_IFDIR | 0500, false};

constexpr std::array kTop{
    NodeEntry{Node::clone, "clone", S_IFREG | 0666, true},
    NodeEntry{Node::ciphers, "ciphers", S_IFREG | 0444, false},
    NodeEntry{Node::engines, "engines", S_IFREG | 0444, false},
    NodeEntry{Node::attach, "attach", S_IFSOCK | 0666, false},
};

constexpr std::array kConnection{
    NodeEntry{Node::ctl, "ctl", S_IFREG | 0600, true},
    NodeEntry{Node::data, "data", S_IFREG | 0600, true},
    NodeEntry{Node::ca, "ca", S_IFREG | 0200, false},
    NodeEntry{Node::cert, "cert", S_IFREG | 0200, false},
    NodeEntry{Node::key, "key", S_IFREG | 0200, false},
    NodeEntry{Node::peer, "peer", S_IFREG | 0400, false},
    NodeEntry{Node::status, "status", S_IFREG | 0400, false},
    NodeEntry{Node::stats, "stats", S_IFREG | 0400, false},
};

constexpr std::array kKernel{
    NodeEntry{Node::kernel_clone, "clone", S_IFCHR | 0666, true},
    NodeEntry{Node::kernel_ctl, "ctl", S_IFCHR | 0600, true},
    NodeEntry{Node::kernel_data, "data", S_IFCHR | 0600, true},
};

}  // namespace

std::span<const NodeEntry> top_entries() {
    return kTop;
}
std::span<const NodeEntry> connection_entries() {
    return kConnection;
}

const NodeEntry& entry_of(Node node) {
    if (node == Node::directory) return kDirectory;
    for (const auto entries :
         {top_entries(), connection_entries(), std::span<const NodeEntry>(kKernel)}) {
        const auto found = std::ranges::find(entries, node, &NodeEntry::node);
        if (found != entries.end()) return *found;
    }
    return kRoot;
}

const NodeEntry* find_entry(std::span<const NodeEntry> entries, std::string_view name) {
    const auto found = std::ranges::find(entries, name, &NodeEntry::name);
    return found == entries.end() ? nullptr : &*found;
}

struct stat attributes(Place place, Owner owner, dev_t device, time_t when) {
    const NodeEntry& entry = entry_of(place.node);
    struct stat attr{};
    attr.st_ino = inode_of(place);
    attr.st_mode = entry.mode;
    attr.st_nlink = S_ISDIR(entry.mode) ? 2 : 1;
    attr.st_uid = owner.uid;
    attr.st_gid = owner.gid;
    const bool stream = entry.stream && S_ISREG(entry.mode);
    attr.st_size = stream ? kStreamSize : 0;
    if (S_ISCHR(entry.mode)) attr.st_rdev = device;
    attr.st_blksize = 128 << 10;
    attr.st_atime = attr.st_mtime = attr.st_ctime = when;
    return attr;
}

}  // namespace tlsfs
