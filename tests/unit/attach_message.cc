// SPDX-License-Identifier: MIT
#include "attach/message.h"

#include <doctest/doctest.h>

using namespace tlsfs;
using Verb = AttachMessage::Verb;

namespace {

AttachMessage parsed(const std::string& text, std::size_t descriptors = 0) {
    CAPTURE(text);
    auto message = parse_attach_message(text, descriptors);
    REQUIRE_MESSAGE(message, (message ? "" : message.error().text));
    return *message;
}

void check_refused(const std::string& text, std::size_t descriptors = 0) {
    CAPTURE(text);
    CAPTURE(descriptors);
    const auto message = parse_attach_message(text, descriptors);
    REQUIRE_FALSE(message);
    CHECK(message.error().code == EINVAL);
    CHECK(message.error().text.find('\n') == std::string::npos);
}

}  // namespace

TEST_CASE("attach message: the verbs") {
    CHECK(parsed("list").verb == Verb::list);
    CHECK(parsed("list\n").verb == Verb::list);
    CHECK(parsed("ciphers").verb == Verb::ciphers);
    CHECK(parsed("engines").verb == Verb::engines);
    CHECK(parsed("status 7").number == 7);
    CHECK(parsed("stats 0").verb == Verb::stats);
    CHECK(parsed("peer 4294967295").number == 4294967295U);
    CHECK(parsed("socket 12").verb == Verb::socket);
    CHECK(parsed("open").verb == Verb::open);
    CHECK(parsed(" open\t bare \n").verb == Verb::open_bare);
    for (const std::size_t descriptors : {1U, 2U}) {
        CHECK(parsed("17\n", descriptors).verb == Verb::fd);
        CHECK(parsed("fd 17", descriptors).number == 17);
    }
    const AttachMessage ctl = parsed("ctl 3\nclose\nhangup");
    CHECK(ctl.verb == Verb::ctl);
    CHECK(ctl.number == 3);
    CHECK(ctl.lines == "close\nhangup\n");
}

TEST_CASE("attach message: lines name the descriptors that came with it, in order") {
    const AttachMessage message =
        parsed("open\nca\nverify ca\nfd - -\nkey -\nplain\nalpn 'a b'\nclient x.test\n", 5);
    REQUIRE(message.pems.size() == 2);
    CHECK(message.pems[0].file == PemFile::ca);
    CHECK(message.pems[0].descriptor == 0);
    CHECK(message.pems[1].file == PemFile::key);
    CHECK(message.pems[1].descriptor == 3);
    CHECK(message.lines == "verify ca\nfd 1 2\nplain 4\nalpn 'a b'\nclient x.test\n");
    CHECK(message.chooses_plain);
    CHECK(parsed("open\nfd -\n", 1).lines == "fd 0\n");
    CHECK(parsed("open\nplain - -\n", 2).lines == "plain 0 1\n");
    CHECK(parsed("ctl 5\n'fd'\n", 1).lines == "fd 0\n");
    CHECK_FALSE(parsed("open\nfd\n", 1).chooses_plain);
}

TEST_CASE("attach message: tied is a line of open alone, and none of ctl's") {
    CHECK(parsed("open\ntied\nserver\n").tied);
    CHECK(parsed("open\ntied\nserver\n").lines == "server\n");
    CHECK_FALSE(parsed("open\nserver\n").tied);
    for (const char* text : {"ctl 5\ntied\n", "check\ntied\n", "open\ntied now\n"}) {
        check_refused(text);
    }
}

TEST_CASE("attach message: lines that are no ctl are left for ctl to refuse") {
    CHECK(parsed("open\nwhat is this\n\n'open quote\n").lines == "what is this\n\n'open quote\n");
}

TEST_CASE("attach message: what is refused") {
    for (const char* text : {"",
                             "\n",
                             "what",
                             "status",
                             "status x",
                             "status -1",
                             "status 01",
                             "status 1 2",
                             "status 4294967296",
                             "list 5",
                             "open it",
                             "open bare bare",
                             "list\nlist",
                             "status 1\n\n",
                             "'open",
                             "5 6",
                             "OPEN",
                             "ctl",
                             "socket 1\nclose",
                             "check 1",
                             "check bare"}) {
        check_refused(text);
    }
    check_refused(std::string("list\0", 5));
    check_refused("open\nclient a\x01.test\n");
    check_refused("open\nalpn \x7f\n");
    check_refused("open\n" + std::string(kMaxMessage, 'x'));
}

TEST_CASE("attach message: as many descriptors as are named, and eight at most") {
    check_refused("list", 1);
    check_refused("status 1", 1);
    check_refused("17", 0);
    check_refused("17", 3);
    check_refused("open\nfd\n", 0);
    check_refused("open\nfd\n", 2);
    check_refused("open\nfd - -\n", 1);
    check_refused("open\nca\ncert\nkey\n", 2);
    std::string lines = "open\n";
    for (int i = 0; i < 8; ++i) lines += "ca\n";
    CHECK(parsed(lines, 8).pems.size() == 8);
    check_refused(lines + "ca\n", 9);
}

TEST_CASE("attach message: no number of a descriptor is taken") {
    for (const char* line : {"fd 0", "fd - 0", "fd 0 -", "plain 3", "ca 0", "key x", "fd - - -",
                             "ca - -", "cert -0"}) {
        for (const std::size_t descriptors : {0U, 1U, 2U}) {
            check_refused("open\n" + std::string(line), descriptors);
        }
    }
}

TEST_CASE("attach message: cut at the end of a line") {
    CHECK(cut_to_lines("a\nb\n", 4) == "a\nb\n");
    CHECK(cut_to_lines("a\nb\n", 3) == "a\n");
    CHECK(cut_to_lines("a\nb\n", 2) == "a\n");
    CHECK(cut_to_lines("a\nb\n", 1).empty());
    CHECK(cut_to_lines("a\nb\n", 0).empty());
    CHECK(cut_to_lines("no line", 3).empty());
    CHECK(cut_to_lines("", 0).empty());
}
