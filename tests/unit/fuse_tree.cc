// SPDX-License-Identifier: MIT
#include "fuse/tree.h"

#include <doctest/doctest.h>

#include <set>

using namespace tlsfs;

TEST_CASE("tree: inode numbers mean one place each") {
    std::set<std::uint64_t> seen;
    const auto check = [&](Place place) {
        CHECK(place_of(inode_of(place)) == place);
        CHECK(seen.insert(inode_of(place)).second);
    };
    check({});
    CHECK(inode_of({}) == 1);  // FUSE_ROOT_ID
    for (const NodeEntry& entry : top_entries()) {
        for (const std::uint32_t instance : {0U, 1U, 255U, 256U, 0xffffffU}) {
            check({entry.node, 0, instance});
        }
    }
    for (const std::uint32_t number : {0U, 1U, 255U, 256U, 0x7fffffffU}) {
        check({Node::directory, number, 0});
        for (const NodeEntry& entry : connection_entries()) {
            for (const std::uint32_t instance : {0U, 1U, 0xffffffU})
                check({entry.node, number, instance});
        }
    }
    // More instances than there is room for begin again.
    CHECK(place_of(inode_of({Node::clone, 0, 0x1000001})).instance == 1);
}

TEST_CASE("tree: the contract's names and modes") {
    const auto mode = [](std::span<const NodeEntry> entries, std::string_view name) {
        const NodeEntry* entry = find_entry(entries, name);
        REQUIRE(entry != nullptr);
        return entry->mode & 07777U;
    };
    CHECK(mode(top_entries(), "clone") == 0666);
    CHECK(mode(top_entries(), "ciphers") == 0444);
    CHECK(mode(top_entries(), "engines") == 0444);
    CHECK(mode(top_entries(), "attach") == 0666);
    for (const auto* name : {"ctl", "data"}) CHECK(mode(connection_entries(), name) == 0600);
    for (const auto* name : {"ca", "cert", "key"}) CHECK(mode(connection_entries(), name) == 0200);
    for (const auto* name : {"peer", "status", "stats"})
        CHECK(mode(connection_entries(), name) == 0400);
    CHECK(find_entry(connection_entries(), "clone") == nullptr);
    CHECK(find_entry(top_entries(), "") == nullptr);
    CHECK((entry_of(Node::directory).mode & 07777U) == 0500);
    CHECK(S_ISDIR(entry_of(Node::root).mode));
    CHECK(S_ISSOCK(entry_of(Node::attach).mode));
}

TEST_CASE("tree: a number is written in one way") {
    CHECK(parse_number("0") == 0U);
    CHECK(parse_number("4294967295") == 4294967295U);
    for (const auto* name :
         {"", "00", "01", "-1", "+1", " 1", "1 ", "4294967296", "1x", "x", "0x1"}) {
        CAPTURE(name);
        CHECK_FALSE(parse_number(name));
    }
}

TEST_CASE("tree: attributes") {
    const auto data = attributes({Node::data, 3}, {1000, 100}, 7, 42);
    CHECK(data.st_uid == 1000);
    CHECK(data.st_gid == 100);
    CHECK(data.st_size == kStreamSize);
    CHECK(data.st_rdev == 0);
    CHECK(data.st_nlink == 1);
    CHECK(data.st_mtime == 42);
    const auto device = attributes({Node::kernel_data, 3}, {}, 7, 0);
    CHECK(S_ISCHR(device.st_mode));
    CHECK(device.st_rdev == 7);
    CHECK(device.st_size == 0);
    CHECK(attributes({Node::status, 3}, {}, 7, 0).st_size == 0);
    CHECK(attributes({Node::directory, 3}, {}, 7, 0).st_nlink == 2);
}
