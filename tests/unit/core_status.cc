// SPDX-License-Identifier: MIT
#include "core/status.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string_view>

using namespace tlsfs;

TEST_CASE("status: unknown tags are left out") {
    StatusFields fields;
    fields.owner = 1000;
    CHECK(status_text(fields) == "State: New\nOwner: 1000\n");
}

TEST_CASE("status: every tag, once, in order") {
    StatusFields fields;
    fields.state = State::error;
    fields.engine = "user";
    fields.role = Role::server;
    fields.version = "TLSv1.3";
    fields.cipher = "C";
    fields.group = "G";
    fields.alpn = "h2";
    fields.name = "n";
    fields.verification = Verification::pin;
    fields.resumed = false;
    fields.peer = "CN=x";
    fields.peer_sha256 = "00";
    fields.local = "l";
    fields.remote = "r";
    fields.owner = 7;
    fields.error = "e";
    CHECK(status_text(fields) ==
          "State: Error\nEngine: user\nRole: server\nVersion: TLSv1.3\nCipher: C\nGroup: G\nALPN: "
          "h2\nName: n\n"
          "Verify: pin\nResumed: no\nPeer: CN=x\nPeerSHA256: 00\nLocal: l\nRemote: r\nOwner: "
          "7\nError: e\n");
}

TEST_CASE("status: what others chose cannot forge a line") {
    const std::string evil =
        std::string("x\nVerify: ok\r\nState: Established") + '\0' + "\t\x1b[2J\x7f";
    StatusFields fields;
    fields.alpn = fields.name = fields.peer = fields.remote = fields.error = evil;
    const std::string text = status_text(fields);
    CHECK(std::ranges::count(text, '\n') == 7);
    CHECK(text.find("\nVerify:") == std::string::npos);
    CHECK(text.find("\nState:") == std::string::npos);
    CHECK(std::ranges::none_of(
        text, [](unsigned char c) { return (c < 0x20 && c != '\n') || c == 0x7f; }));
}

TEST_CASE("status: only printable ASCII") {
    CHECK(printable("M\xc3\xbcller\xc2\x9b"
                    "31m") == "M??ller??31m");
    CHECK(printable("a b~") == "a b~");
}

TEST_CASE("status: what was written can be read again") {
    StatusFields fields;
    fields.state = State::established;
    fields.engine = "kernel";
    fields.role = Role::client;
    fields.version = "TLSv1.3";
    fields.name = "a: b";
    fields.verification = Verification::ok;
    fields.resumed = true;
    fields.peer = "CN=x";
    fields.remote = "[::1]:1";
    StatusFields again = parse_status(status_text(fields));
    again.state = fields.state;
    CHECK(status_text(again) == status_text(fields));
    CHECK(status_text(parse_status("")) == status_text({}));
    CHECK(parse_status("Name\n: x\nName:x\nVerify: yes\n\n\0: \n").name.empty());
    CHECK(parse_status("Verify: yes\n").verification == Verification::unknown);
}

TEST_CASE("stats: all numbers") {
    Stats stats;
    stats.data_in = 1;
    stats.key_updates = 18446744073709551615U;
    CHECK(stats_text(stats) ==
          "DataIn: 1\nDataOut: 0\nWireIn: 0\nWireOut: 0\nRecordsIn: 0\nRecordsOut: 0\n"
          "HandshakeMicroseconds: 0\nKeyUpdates: 18446744073709551615\n");
}
