// SPDX-License-Identifier: MIT
// One connection of a tunnel, from the moment that it was accepted.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "acceptor.h"
#include "core/result.h"
#include "credentials.h"
#include "proxy_header.h"
#include "targets.h"
#include "tunnel_options.h"
#include "tunnel_stream.h"
#include "waiting.h"

namespace tlsfs::cmd {

// What all connections of a tunnel have in common. Outlives them.
struct TunnelShare {
    const TunnelOptions& options;
    Targets& targets;
    Event& finished;  // set when a connection is over
};

class TunnelConnection {
 public:
    TunnelConnection(TunnelShare share, std::shared_ptr<const Credentials> credentials,
                     Accepted accepted);

    // Makes the tunnel's other half, relays, and says what went wrong. For a thread of its own.
    void run() noexcept;
    [[nodiscard]] bool is_over() const { return over_; }

    // From any thread: the connection ends soon, and to neither side it looks as if its stream had
    // ended properly.
    void break_off(const Failure& why);

    // Breaks it off if nothing has moved since then.
    void break_off_if_idle_since(Deadline then, const Failure& why);

 private:
    struct Halves {
        std::optional<Connection> tls;
        UniqueFd plain;
        const Target* target;
    };

    void tunnel();
    [[nodiscard]] Result<Halves> connect_and_be_client();
    [[nodiscard]] Result<Halves> be_server_and_connect();
    [[nodiscard]] Result<Connection> shake_hands(UniqueFd carrier, const std::string& host) const;
    [[nodiscard]] Result<> take_proxy_header();
    [[nodiscard]] Result<> introduce(const Connection& tls, int plain) const;
    void announce(const Halves& halves) const;
    [[nodiscard]] Failure relay(Halves halves);
    void complain(const std::string& cause) const;

    TunnelShare share_;
    std::shared_ptr<const Credentials> credentials_;
    UniqueFd accepted_;
    Endpoints endpoints_;
    std::string peer_;
    Event called_off_;
    std::atomic<bool> over_ = false;
    std::mutex lock_;
    std::optional<Failure> ended_by_;  // guarded by lock_
    TunnelStream* stream_ = nullptr;   // guarded by lock_; not null while it relays
};

}  // namespace tlsfs::cmd
