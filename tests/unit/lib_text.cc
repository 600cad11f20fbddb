// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include "text.h"

using tlsfs::internal::parse_tags;
using tlsfs::internal::printable;
using tlsfs::internal::quoted;

TEST_CASE("a word is quoted only where ctl needs it") {
    CHECK(quoted("example.com") == "example.com");
    CHECK(quoted("") == "''");
    CHECK(quoted("two words") == "'two words'");
    CHECK(quoted("a\tb") == "'a\tb'");
    CHECK(quoted("it's") == "'it''s'");
    CHECK(quoted("'") == "''''");
}

TEST_CASE("no word can begin a line of its own") {
    CHECK_FALSE(quoted("a\nverify none").has_value());
    CHECK_FALSE(quoted(std::string_view("a\0b", 3)).has_value());
}

TEST_CASE("what a peer chose cannot drive a terminal") {
    CHECK(printable("CN=\x1b[31mred\r\n\x7f") == "CN=?[31mred???");
    CHECK(printable("\xc2\x9b"
                    "31m") == "\xc2?31m");
    CHECK(printable("M\xc3\xbcller, \xe2\x80\x9cx\xe2\x80\x9d") ==
          "M\xc3\xbcller, \xe2\x80\x9cx\xe2\x80\x9d");
}

TEST_CASE("tags are what stands before the first colon") {
    const auto tags = parse_tags("State: Established\nPeer: CN=a: b\nnonsense\n: x\nError: cut");
    CHECK(tags.size() == 3);
    CHECK(tags.at("State") == "Established");
    CHECK(tags.at("Peer") == "CN=a: b");
    CHECK(tags.at("Error") == "cut");
    CHECK(parse_tags("").empty());
}

TEST_CASE("a repeated tag does not replace the first") {
    CHECK(parse_tags("Verify: none\nVerify: ok\n").at("Verify") == "none");
}
