// SPDX-License-Identifier: MIT
// STARTTLS: what is said in the clear before TLS begins, for both sides of five protocols.
//
// All that is known of a protocol is one entry of a table in starttls.cc. A talk is pure: bytes in,
// bytes out. Its peer is a stranger, so lines, their number and their length are bounded, and bytes
// that come too early are refused: what was sent in the clear must not be taken for a part of the
// session that TLS protects (CVE-2011-0411, CVE-2021-23222).
//
// The protocols that greet do so once, before TLS. So a tunnel greets its plain client with a fixed
// text, and takes the greeting of a plain target away.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/result.h"
#include "starttls_frames.h"

namespace tlsfs::cmd {

struct StartTlsProtocol;

// smtp, imap, pop3, postgres or ldap; nullptr for others.
[[nodiscard]] const StartTlsProtocol* find_starttls(std::string_view name);

// The names, for a message.
[[nodiscard]] std::string starttls_names();

// What a plain client of this protocol reads first; empty where clients speak first.
[[nodiscard]] std::string_view greeting_for_client(const StartTlsProtocol& protocol);

class StartTlsTalk {
 public:
    enum class Side : std::uint8_t {
        client,  // to a server that is to begin TLS
        server,  // to a client that wants to
        plain,   // to a plain target, whose greeting is taken
    };

    static constexpr std::size_t kMaxFrame = 2048;  // one line or message
    static constexpr int kMaxFrames = 64;

    StartTlsTalk(const StartTlsProtocol& protocol, Side side);

    // Bytes that have come. EPROTO: TLS will not begin.
    [[nodiscard]] Result<> feed(std::string_view bytes);

    // Bytes to send now.
    [[nodiscard]] std::string take_output() { return std::exchange(output_, {}); }

    // Nothing more is to be said once the output is sent.
    [[nodiscard]] bool is_done() const { return done_; }

    // For messages.
    [[nodiscard]] Error refusal(std::string_view what) const;

 private:
    void say_next();
    [[nodiscard]] Result<> heard(const Frame& frame);
    [[nodiscard]] Result<> asked(const Frame& frame);

    const StartTlsProtocol& protocol_;
    Side side_;
    std::string input_;
    std::string output_;
    std::size_t exchange_ = 0;  // which one of the protocol's we are at
    bool offered_ = false;      // its answer has named what is needed
    int frames_ = 0;
    bool done_ = false;
};

// Carries on a talk over a nonblocking use of a socket. True: it is over, nothing has come behind
// it, and the next byte belongs to TLS.
[[nodiscard]] Result<bool> carry_on(StartTlsTalk& talk, int socket_fd);

}  // namespace tlsfs::cmd
