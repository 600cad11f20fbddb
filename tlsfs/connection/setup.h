// SPDX-License-Identifier: MIT
// A connection until its handshake is over: what was set and written, the transport, the dial, the
// handshake. Destroyed as soon as it is established or has failed, and the keys in it with it.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "connection/dialling.h"
#include "connection/events.h"
#include "connection/facts.h"
#include "connection/handshake.h"
#include "connection/pem_files.h"
#include "connection/services.h"
#include "core/settings.h"
#include "io/byte_stream.h"

namespace tlsfs {

class Setup {
 public:
    Setup(const Services& services, ConnectionEvents& events, Facts& facts, Settings first);
    Setup(const Setup&) = delete;
    Setup& operator=(const Setup&) = delete;
    ~Setup() = default;

    [[nodiscard]] const Settings& settings() const { return settings_; }
    void choose(const Choices& choices) { static_cast<Choices&>(settings_) = choices; }
    [[nodiscard]] PemFiles& pems() { return pems_; }

    [[nodiscard]] const ByteStream& transport() const { return transport_; }
    [[nodiscard]] bool has_transport() const { return transport_.valid(); }
    // Refused descriptors are given back (connection/given_stream).
    [[nodiscard]] Result<> take_transport(UniqueFd read, UniqueFd write);
    void set_transport(ByteStream transport) { transport_ = std::move(transport); }

    [[nodiscard]] bool has_plain() const { return plain_.valid(); }
    void set_plain(ByteStream plain) { plain_ = std::move(plain); }
    [[nodiscard]] ByteStream take_plain() { return std::move(plain_); }

    [[nodiscard]] Result<> dial(const command::Dial& target, std::optional<Identity> identity);
    // How the dial ended, unless it had been given up before.
    [[nodiscard]] std::optional<Result<>> dialled(const std::shared_ptr<Cancellation>& attempt,
                                                  Result<UniqueFd> outcome);
    [[nodiscard]] std::optional<Error> dial_timed_out();

    // The name that `client` without one means.
    [[nodiscard]] std::string default_name() const;
    // Once this has succeeded, nothing fails but the handshake itself. A trial has none.
    [[nodiscard]] Result<> begin_handshake(Role role, const std::string& name, bool keep_secrets);
    // Null before it has begun.
    [[nodiscard]] Handshake* handshake() { return handshake_.get(); }

 private:
    [[nodiscard]] Result<std::unique_ptr<Tls>> prepare_tls(Role role, const std::string& name);
    void tell_facts(Role role, const std::string& name);

    const Services& services_;
    ConnectionEvents& events_;
    Facts& facts_;
    Settings settings_;
    PemFiles pems_;
    ByteStream transport_;  // until the handshake begins; then its stream has it
    ByteStream plain_;      // said before the handshake is over
    Dialling dialling_;
    std::chrono::milliseconds dial_time_{0};  // the handshake has so much less
    bool slow_ = false;                       // a token is to sign
    std::unique_ptr<Handshake> handshake_;
};

}  // namespace tlsfs
