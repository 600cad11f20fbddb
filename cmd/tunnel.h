// SPDX-License-Identifier: MIT
// The tunnel as a whole: accepts, and follows signals.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "acceptor.h"
#include "credentials.h"
#include "listener.h"
#include "signals.h"
#include "targets.h"
#include "tunnel_connection.h"
#include "tunnel_options.h"
#include "waiting.h"

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
    [[nodiscard]] static Signals block_signals() { return {SIGHUP, SIGTERM, SIGINT}; }

    Tunnel(const TunnelOptions& options, std::shared_ptr<const Credentials> credentials,
           Signals signals, Entrance entrance);

    // Serves until a signal ends it. Returns the exit code, or exits with it when there are threads
    // left that nobody can wake.
    [[nodiscard]] int run();

 private:
    enum class State : std::uint8_t { serving, stopping, over };

    struct Running {
        std::unique_ptr<TunnelConnection> connection;
        std::thread thread;
    };

    struct Reaction {
        int signal;
        State state;
        void (Tunnel::*react)();
    };
    static const std::array<Reaction, 5> kReactions;

    [[nodiscard]] bool is_full() const;
    [[nodiscard]] std::optional<std::chrono::milliseconds> patience() const;
    void follow_signals();
    void reload();
    void stop();
    void end();
    void accept();
    void start(Accepted accepted);
    void reap();
    void end_idle();
    void break_off_all();

    const TunnelOptions& options_;
    std::shared_ptr<const Credentials> credentials_;
    Signals signals_;
    Event finished_;
    Targets targets_;
    Acceptor acceptor_;
    std::vector<SocketPath> names_;
    std::list<Running> running_;
    State state_ = State::serving;
    Deadline deadline_{};  // of stopping
};

}  // namespace tlsfs::cmd
