// SPDX-License-Identifier: MIT
#include "starttls.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <tuple>

#include "starttls_frames.h"
#include "text.h"

namespace tlsfs::cmd {

using namespace std::string_view_literals;

// What a server must answer: the line that ends the answer, those that may go before, and a line
// that must be among them.
struct Await {
    std::string_view last;
    std::string_view before;
    std::string_view needed;
};

struct Exchange {
    std::string_view say;  // empty: the server speaks first
    Await await;
};

// What we answer as a server. In an answer `%` stands for the tag of the command.
enum class Then : std::uint8_t { go_on, begin_tls, leave };
struct Answer {
    std::string_view command;
    std::string_view answer;
    Then then;
};

struct StartTlsProtocol {
    std::string_view name;
    Framing from_client, from_server;
    std::span<const Exchange> exchanges;  // as a client
    std::string_view greeting;            // as a server, and what follows: answers to commands
    std::span<const Answer> answers;
    std::string_view otherwise;        // the answer to any other command; empty: the end
    std::string_view client_greeting;  // for the plain client of a tunnel
    Await target_greeting;             // of a plain target
};

namespace {

// RFC 3207, "SMTP Service Extension for Secure SMTP over TLS"; replies of several lines: RFC 5321,
// section 4.2.1.
constexpr std::array kSmtpExchanges{
    Exchange{"", {"220 ", "220-", ""}},
    Exchange{"EHLO localhost\r\n", {"250 ", "250-", "STARTTLS"}},
    Exchange{"STARTTLS\r\n", {"220 ", "220-", ""}},
};
constexpr std::array kSmtpAnswers{
    Answer{"EHLO", "250-localhost\r\n250 STARTTLS\r\n", Then::go_on},
    Answer{"HELO", "250 localhost\r\n", Then::go_on},
    Answer{"NOOP", "250 OK\r\n", Then::go_on},
    Answer{"RSET", "250 OK\r\n", Then::go_on},
    Answer{"STARTTLS", "220 Ready to start TLS\r\n", Then::begin_tls},
    Answer{"QUIT", "221 Bye\r\n", Then::leave},
};

// RFC 9051, sections 6.2.1 (STARTTLS) and 7.1.4: after a greeting of PREAUTH there is no STARTTLS,
// so it is none that we take.
constexpr std::array kImapExchanges{
    Exchange{"", {"* OK", "", ""}},
    Exchange{"a STARTTLS\r\n", {"a OK", "* ", ""}},
};
constexpr std::array kImapAnswers{
    Answer{"CAPABILITY",
           "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n% OK CAPABILITY completed\r\n",
           Then::go_on},
    Answer{"NOOP", "% OK NOOP completed\r\n", Then::go_on},
    Answer{"STARTTLS", "% OK Begin TLS negotiation now\r\n", Then::begin_tls},
    Answer{"LOGOUT", "* BYE\r\n% OK LOGOUT completed\r\n", Then::leave},
};

// RFC 2595, section 4 (STLS); CAPA: RFC 2449.
constexpr std::array kPop3Exchanges{
    Exchange{"", {"+OK", "", ""}},
    Exchange{"STLS\r\n", {"+OK", "", ""}},
};
constexpr std::array kPop3Answers{
    Answer{"CAPA", "+OK Capability list follows\r\nSTLS\r\n.\r\n", Then::go_on},
    Answer{"STLS", "+OK Begin TLS negotiation\r\n", Then::begin_tls},
    Answer{"QUIT", "+OK Bye\r\n", Then::leave},
};

// PostgreSQL, "Message Formats": SSLRequest, GSSENCRequest.
constexpr std::array kPostgresExchanges{
    Exchange{"\0\0\0\x08\x04\xd2\x16\x2f"sv, {"S", "", ""}},
};
constexpr std::array kPostgresAnswers{
    Answer{"\0\0\0\x08\x04\xd2\x16\x2f"sv, "S", Then::begin_tls},
    Answer{"\0\0\0\x08\x04\xd2\x16\x30"sv, "N", Then::go_on},
};

// RFC 4511, section 4.14. The texts are protocolOps; a frame adds the message around them.
constexpr std::array kLdapExchanges{
    Exchange{"\x77\x18\x80\x16"
             "1.3.6.1.4.1.1466.20037"sv,
             {"success", "", ""}},
};
constexpr std::array kLdapAnswers{
    Answer{"1.3.6.1.4.1.1466.20037",
           "\x78\x1f\x0a\x01\0\x04\0\x04\0\x8a\x16"
           "1.3.6.1.4.1.1466.20037"sv,
           Then::begin_tls},
};

constexpr std::array kProtocols{
    StartTlsProtocol{"smtp", Framing::line, Framing::line, kSmtpExchanges,
                     "220 localhost ESMTP\r\n", kSmtpAnswers,
                     "530 Must issue a STARTTLS command first\r\n", "220 localhost ESMTP\r\n",
                     kSmtpExchanges[0].await},
    StartTlsProtocol{"imap", Framing::tagged, Framing::line, kImapExchanges,
                     "* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n", kImapAnswers,
                     "% BAD STARTTLS comes first\r\n", "* OK ready\r\n", kImapExchanges[0].await},
    StartTlsProtocol{"pop3", Framing::line, Framing::line, kPop3Exchanges, "+OK ready\r\n",
                     kPop3Answers, "-ERR STLS comes first\r\n", "+OK ready\r\n",
                     kPop3Exchanges[0].await},
    StartTlsProtocol{"postgres",
                     Framing::eight_bytes,
                     Framing::byte,
                     kPostgresExchanges,
                     "",
                     kPostgresAnswers,
                     "",
                     "",
                     {}},
    StartTlsProtocol{
        "ldap", Framing::ldap, Framing::ldap, kLdapExchanges, "", kLdapAnswers, "", "", {}},
};

// ASCII letters of either case are equal. Not strncasecmp(3): a message may hold NULs.
bool begins_with(std::string_view text, std::string_view start) {
    const auto lower = [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    };
    return text.size() >= start.size() &&
           std::ranges::equal(text.substr(0, start.size()), start, {}, lower, lower);
}

// The word of a line that says a command. Messages of a binary protocol are compared whole.
std::string_view command_of(std::string_view text, Framing framing) {
    if (framing != Framing::line && framing != Framing::tagged) return text;
    return text.substr(0, text.find(' '));
}

bool is_same(std::string_view one, std::string_view other) {
    return one.size() == other.size() && begins_with(one, other);
}

// `text` comes from a stranger.
std::string shown(std::string_view text) {
    constexpr std::size_t kMost = 80;
    return internal::printable(std::string(text.substr(0, kMost)));
}

}  // namespace

const StartTlsProtocol* find_starttls(std::string_view name) {
    const auto* found = std::ranges::find(kProtocols, name, &StartTlsProtocol::name);
    return found == kProtocols.end() ? nullptr : found;
}

std::string starttls_names() {
    std::string names;
    for (const StartTlsProtocol& each : kProtocols) {
        names += (names.empty() ? "" : ", ") + std::string(each.name);
    }
    return names;
}

std::string_view greeting_for_client(const StartTlsProtocol& protocol) {
    return protocol.client_greeting;
}

StartTlsTalk::StartTlsTalk(const StartTlsProtocol& protocol, Side side)
    : protocol_(protocol), side_(side) {
    if (side == Side::server) output_ = protocol.greeting;
    if (side == Side::client) say_next();
    // A target that does not greet has nothing to be taken away.
    if (side == Side::plain) done_ = protocol.target_greeting.last.empty();
}

void StartTlsTalk::say_next() {
    const std::string_view text = protocol_.exchanges[exchange_].say;
    offered_ = protocol_.exchanges[exchange_].await.needed.empty();
    if (!text.empty()) output_ += framed(protocol_.from_client, kFirstTag, text);
}

Error StartTlsTalk::refusal(std::string_view what) const {
    return {EPROTO, "STARTTLS " + std::string(protocol_.name) + ": " + std::string(what)};
}

Result<> StartTlsTalk::feed(std::string_view bytes) {
    input_ += bytes;
    const Framing framing = side_ == Side::server ? protocol_.from_client : protocol_.from_server;
    while (!done_) {
        std::string_view rest = input_;
        const auto frame = take_frame(framing, rest, kMaxFrame);
        if (!frame) return tl::unexpected(refusal(frame.error().text));
        if (!*frame) return {};
        input_.erase(0, input_.size() - rest.size());
        if (++frames_ > kMaxFrames) return tl::unexpected(refusal("too much was said"));
        const auto taken = side_ == Side::server ? asked(**frame) : heard(**frame);
        if (!taken) return taken;
    }
    if (input_.empty()) return {};
    output_.clear();  // the peer is not told to begin
    return tl::unexpected(refusal("bytes came before TLS began"));
}

// As a client, or of a plain target.
Result<> StartTlsTalk::heard(const Frame& frame) {
    const bool plain = side_ == Side::plain;
    const Await& await = plain ? protocol_.target_greeting : protocol_.exchanges[exchange_].await;
    const bool is_last = begins_with(frame.text, await.last);
    const bool goes_on = !await.before.empty() && begins_with(frame.text, await.before);
    if (!is_last && !goes_on) {
        return tl::unexpected(refusal("the answer is '" + shown(frame.text) + "'"));
    }
    const std::size_t head = is_last ? await.last.size() : await.before.size();
    const std::string_view said = std::string_view(frame.text).substr(head);
    offered_ = offered_ || plain || is_same(said, await.needed);
    if (!is_last) return {};
    // An answer to what has not been asked yet would be taken for the answer to it.
    if (!input_.empty()) return tl::unexpected(refusal("bytes came too early"));
    if (!offered_) return tl::unexpected(refusal("the server does not offer it"));
    if (plain || ++exchange_ == protocol_.exchanges.size()) {
        done_ = true;
    } else {
        say_next();
    }
    return {};
}

// As a server.
Result<> StartTlsTalk::asked(const Frame& frame) {
    const std::string_view command = command_of(frame.text, protocol_.from_client);
    const auto answer = std::ranges::find_if(
        protocol_.answers, [&](const Answer& each) { return is_same(command, each.command); });
    const bool known = answer != protocol_.answers.end();
    const std::string_view text = known ? answer->answer : protocol_.otherwise;
    if (text.empty()) return tl::unexpected(refusal("the peer did not ask for TLS"));
    output_ += framed(protocol_.from_server, frame.tag, text);
    if (!known) return {};
    if (answer->then == Then::leave) return tl::unexpected(refusal("the peer has left"));
    done_ = answer->then == Then::begin_tls;
    return {};
}

namespace {

// Output is far smaller than a socket's buffer; one that has no room left does not read.
Result<> send_output(StartTlsTalk& talk, int socket_fd) {
    const std::string output = talk.take_output();
    if (output.empty()) return {};
    const ssize_t sent = send(socket_fd, output.data(), output.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == static_cast<ssize_t>(output.size())) return {};
    if (sent >= 0 || errno == EAGAIN) return tl::unexpected(talk.refusal("the peer does not read"));
    return system_failure("STARTTLS");
}

bool has_input(int socket_fd) {
    char byte = 0;
    return recv(socket_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

}  // namespace

Result<bool> carry_on(StartTlsTalk& talk, int socket_fd) {
    std::array<char, StartTlsTalk::kMaxFrame> buffer{};
    for (;;) {
        // The peer may speak TLS only after it has read that it may.
        if (talk.is_done() && has_input(socket_fd)) {
            return tl::unexpected(talk.refusal("bytes came before TLS began"));
        }
        if (const auto sent = send_output(talk, socket_fd); !sent) {
            return tl::unexpected(sent.error());
        }
        if (talk.is_done()) return true;
        const ssize_t count = recv(socket_fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) return false;
        if (count < 0) return system_failure("STARTTLS");
        if (count == 0) return tl::unexpected(talk.refusal("the peer has left"));
        const auto fed = talk.feed({buffer.data(), static_cast<std::size_t>(count)});
        if (fed) continue;
        std::ignore = send_output(talk, socket_fd);  // a last answer, as to QUIT
        return tl::unexpected(fed.error());
    }
}

}  // namespace tlsfs::cmd
