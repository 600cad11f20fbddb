// SPDX-License-Identifier: MIT
// The tunnel as a whole: accepts, and follows signals.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "acceptor.h"
#include "credentials.h"
#include "event_loop.h"
#include "listener.h"
#include "signals.h"
#include "targets.h"
#include "tunnel_connection.h"
#include "tunnel_options.h"

namespace tlsfs::cmd {

// Where a tunnel listens.
struct Entrance {
    Listeners sockets;
    std::vector<SocketPath> names;
};

// Without sockets if one could not be had; then it was said why.
[[nodiscard]] Entrance open_entrance(const TunnelOptions& options);

class Tunnel {
 public:
    // Which signals it follows. Made before it listens, for then somebody may send them.
    [[nodiscard]] static Signals block_signals() { return {SIGHUP, SIGTERM, SIGINT, SIGUSR1}; }

    Tunnel(const TunnelOptions& options, std::shared_ptr<const Credentials> credentials,
           Signals signals, Entrance entrance);

    // Serves until a signal ends it. Returns the exit code.
    [[nodiscard]] int run();

 private:
    enum class State : std::uint8_t {
        serving,
        stopping,  // connections go on, and are cut when the grace is over
        leaving,   // connections go on without us, those that are being set up as well
        over,
    };

    struct Reaction {
        int signal;
        State state;
        void (Tunnel::*react)();
    };
    static const std::array<Reaction, 8> kReactions;

    using Connections = std::vector<std::unique_ptr<TunnelConnection>>;

    [[nodiscard]] bool is_full() const;
    [[nodiscard]] bool waits_for_nobody() const;
    [[nodiscard]] std::optional<std::chrono::milliseconds> patience() const;
    [[nodiscard]] bool wait();
    void follow_signals();
    void reload();
    void stop();
    void leave();
    void end();
    void stop_listening(State state);
    void accept();
    void start(Accepted accepted);
    void reap();
    void break_off_all();

    const TunnelOptions& options_;
    std::shared_ptr<const Credentials> credentials_;
    Signals signals_;
    Targets targets_;
    Acceptor acceptor_;
    std::vector<SocketPath> names_;
    EventLoop loop_;
    TunnelShare share_;
    Connections running_;
    State state_ = State::serving;
    Deadline deadline_ = Deadline::max();  // of stopping and leaving
};

}  // namespace tlsfs::cmd
