// SPDX-License-Identifier: MIT
// STARTTLS: transcripts, and what strangers may try.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <tuple>
#include <vector>

#include "core/unique_fd.h"
#include "starttls.h"

using namespace tlsfs::cmd;
using namespace std::string_literals;
using Side = StartTlsTalk::Side;

namespace {

// A line of a transcript: what the peer says, and what is said then.
struct Turn {
    std::string heard, said;
};

StartTlsTalk talk_of(const char* protocol, Side side) {
    return {*find_starttls(protocol), side};
}

// True if TLS begins at the end of it, and not before.
bool follows(StartTlsTalk talk, const std::vector<Turn>& transcript) {
    bool right = true;
    for (const Turn& turn : transcript) {
        right = right && !talk.is_done();
        if (!turn.heard.empty()) right = talk.feed(turn.heard).has_value() && right;
        const std::string said = talk.take_output();
        CAPTURE(turn.heard);
        CHECK(said == turn.said);
        right = right && said == turn.said;
    }
    return right && talk.is_done();
}

// Why the last of these is refused; empty if it is not.
std::string refusal(StartTlsTalk talk, const std::vector<std::string>& heard) {
    for (const std::string& bytes : heard) {
        if (const auto fed = talk.feed(bytes); !fed) return fed.error().text;
        std::ignore = talk.take_output();
    }
    return {};
}

const std::string kSslRequest = "\0\0\0\x08\x04\xd2\x16\x2f"s;
const std::string kOid = "1.3.6.1.4.1.1466.20037";
const std::string kLdapRequest = "\x30\x1d\x02\x01\x01\x77\x18\x80\x16" + kOid;
const std::string kLdapSuccess = "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0"s;

}  // namespace

TEST_CASE("starttls: as a client") {
    CHECK(follows(talk_of("smtp", Side::client),
                  {{"220 mx ESMTP\r\n", "EHLO localhost\r\n"},
                   {"250-mx\r\n250-SIZE\r\n250-starttls\r\n250 HELP\r\n", "STARTTLS\r\n"},
                   {"220 go\r\n", ""}}));
    CHECK(follows(talk_of("smtp", Side::client), {{"220-mx\r\n", ""},
                                                  {"220 ready\r", ""},
                                                  {"\n", "EHLO localhost\r\n"},
                                                  {"250-mx\r\n250 STARTTLS\r\n", "STARTTLS\r\n"},
                                                  {"220 go\r\n", ""}}));
    CHECK(follows(
        talk_of("imap", Side::client),
        {{"* OK [CAPABILITY IMAP4rev1] hello\r\n", "a STARTTLS\r\n"}, {"a OK begin\r\n", ""}}));
    CHECK(follows(talk_of("pop3", Side::client), {{"+OK hi\r\n", "STLS\r\n"}, {"+OK\r\n", ""}}));
    CHECK(follows(talk_of("postgres", Side::client), {{"", kSslRequest}, {"S", ""}}));
    CHECK(follows(talk_of("ldap", Side::client), {{"", kLdapRequest}, {kLdapSuccess, ""}}));
}

TEST_CASE("starttls: as a server") {
    CHECK(follows(talk_of("smtp", Side::server),
                  {{"", "220 localhost ESMTP\r\n"},
                   {"EHLO me\r\n", "250-localhost\r\n250 STARTTLS\r\n"},
                   {"MAIL FROM:<a@b>\r\n", "530 Must issue a STARTTLS command first\r\n"},
                   {"starttls\r\n", "220 Ready to start TLS\r\n"}}));
    CHECK(follows(talk_of("imap", Side::server),
                  {{"", "* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n"},
                   {"x1 LOGIN a b\r\n", "x1 BAD STARTTLS comes first\r\n"},
                   {"x2 STARTTLS\r\n", "x2 OK Begin TLS negotiation now\r\n"}}));
    CHECK(follows(talk_of("pop3", Side::server), {{"", "+OK ready\r\n"},
                                                  {"USER a\r\n", "-ERR STLS comes first\r\n"},
                                                  {"STLS\r\n", "+OK Begin TLS negotiation\r\n"}}));
    CHECK(follows(talk_of("postgres", Side::server),
                  {{"\0\0\0\x08\x04\xd2\x16\x30"s, "N"}, {kSslRequest, "S"}}));
    const std::string answer = "\x30\x24\x02\x01\x01\x78\x1f\x0a\x01\0\x04\0\x04\0\x8a\x16"s + kOid;
    CHECK(follows(talk_of("ldap", Side::server), {{kLdapRequest, answer}}));
}

TEST_CASE("starttls: the greeting of a plain target is taken") {
    CHECK(follows(talk_of("smtp", Side::plain), {{"220-a\r\n220 b\r\n", ""}}));
    CHECK(follows(talk_of("imap", Side::plain), {{"* OK hello\r\n", ""}}));
    CHECK(follows(talk_of("pop3", Side::plain), {{"+OK\r\n", ""}}));
    CHECK(talk_of("postgres", Side::plain).is_done());
    CHECK(talk_of("ldap", Side::plain).is_done());
    CHECK_FALSE(refusal(talk_of("smtp", Side::plain), {"554 no\r\n"}).empty());
}

TEST_CASE("starttls: bytes that come before TLS are refused") {
    const std::string smtp = "250-mx\r\n250 STARTTLS\r\n";
    CHECK_FALSE(refusal(talk_of("smtp", Side::server), {"STARTTLS\r\nRSET\r\n"}).empty());
    CHECK_FALSE(refusal(talk_of("imap", Side::server), {"a STARTTLS\r\nb NOOP\r\n"}).empty());
    CHECK_FALSE(refusal(talk_of("pop3", Side::server), {"STLS\r\nUSER x\r\n"}).empty());
    CHECK_FALSE(refusal(talk_of("postgres", Side::server), {kSslRequest + "x"}).empty());
    CHECK_FALSE(refusal(talk_of("ldap", Side::server), {kLdapRequest + "0"}).empty());
    CHECK_FALSE(refusal(talk_of("smtp", Side::client), {"220 mx\r\n", smtp, "220 go\r\n250 x\r\n"})
                    .empty());
    CHECK_FALSE(refusal(talk_of("postgres", Side::client), {"SE"}).empty());
    CHECK_FALSE(refusal(talk_of("ldap", Side::client), {kLdapSuccess + "x"}).empty());
    // An answer before the question.
    CHECK_FALSE(refusal(talk_of("smtp", Side::client), {"220 mx\r\n" + smtp}).empty());
    CHECK_FALSE(refusal(talk_of("pop3", Side::client), {"+OK\r\n+OK\r\n"}).empty());
}

TEST_CASE("starttls: who does not offer it is refused") {
    CHECK_FALSE(refusal(talk_of("smtp", Side::client), {"220 mx\r\n", "250 mx\r\n"}).empty());
    CHECK_FALSE(refusal(talk_of("smtp", Side::client), {"554 no\r\n"}).empty());
    CHECK_FALSE(refusal(talk_of("imap", Side::client), {"* PREAUTH in\r\n"}).empty());
    CHECK_FALSE(refusal(talk_of("imap", Side::client), {"* OK\r\n", "a NO\r\n"}).empty());
    CHECK_FALSE(refusal(talk_of("pop3", Side::client), {"+OK\r\n", "-ERR\r\n"}).empty());
    CHECK_FALSE(refusal(talk_of("postgres", Side::client), {"N"}).empty());
    std::string refused = kLdapSuccess;
    refused[9] = 2;
    CHECK_FALSE(refusal(talk_of("ldap", Side::client), {refused}).empty());
    CHECK_FALSE(refusal(talk_of("postgres", Side::server), {"\0\0\0\x50\0\3\0\0"s}).empty());
    CHECK_FALSE(refusal(talk_of("smtp", Side::server), {"QUIT\r\n"}).empty());
}

TEST_CASE("starttls: what a stranger says is bounded") {
    const std::string long_line(StartTlsTalk::kMaxFrame + 1, 'x');
    for (const char* protocol : {"smtp", "imap", "pop3"}) {
        CHECK_FALSE(refusal(talk_of(protocol, Side::server), {long_line}).empty());
        CHECK_FALSE(refusal(talk_of(protocol, Side::client), {long_line}).empty());
    }
    std::string lines;
    for (int i = 0; i <= StartTlsTalk::kMaxFrames; ++i) lines += "NOOP\r\n";
    CHECK_FALSE(refusal(talk_of("smtp", Side::server), {lines}).empty());
    for (const std::string& bad :
         {"\x30\x84\x7f\xff\xff\xff"s, "\x30\x80"s, "\x31\x03\x02\x01\x01"s, "\x30\0"s,
          "\x30\x02\x02\x05"s, "\x30\x05\x02\x01\x01\x77\x09"s}) {
        CHECK_FALSE(refusal(talk_of("ldap", Side::server), {bad}).empty());
    }
}

TEST_CASE("starttls: over a socket") {
    std::array<int, 2> ends{};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
    const tlsfs::UniqueFd ours(ends[0]);
    const tlsfs::UniqueFd theirs(ends[1]);
    const auto say = [&](const std::string& text) {
        REQUIRE(write(theirs.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    };
    StartTlsTalk talk = talk_of("pop3", Side::server);
    CHECK_FALSE(*carry_on(talk, ours.get()));
    say("STLS\r\n");
    SUBCASE("TLS begins") {
        CHECK(*carry_on(talk, ours.get()));
    }
    SUBCASE("bytes came too early") {
        say("USER x\r\n");
        CHECK_FALSE(carry_on(talk, ours.get()));
    }
}
