// SPDX-License-Identifier: MIT
// What every front stands on: the connections, all that they share, and the threads that serve
// them.
#pragma once

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "connection/registry.h"

namespace tlsfs {

class Companion {
 public:
    Companion(const Policy& policy, Log& log) : log_(log), contexts_(policy.trust) {
        contexts_.set_key_socket(policy.key_socket);
    }
    Companion(const Companion&) = delete;
    Companion& operator=(const Companion&) = delete;
    ~Companion() { stop(); }

    // Forks the maker of data sockets: to be called before there are threads. `own_mount`: whose
    // files are no transports.
    void prepare(const Policy& policy, dev_t own_mount);
    [[nodiscard]] bool is_prepared() const { return registry_.has_value(); }
    [[nodiscard]] bool has_data_sockets() const { return pairs_ != nullptr; }

    static unsigned threads_wanted();
    void start();
    // For the connections from now on. The trust store is read anew, for every handshake to come.
    void set_policy(const Policy& policy);
    // Ends every connection and every thread. Fronts are to be closed before.
    void stop();

    Reactor& reactor() { return reactor_; }
    Background& background() { return background_; }
    Registry& registry() { return *registry_; }

 private:
    void expire();  // now, and again and again

    Log& log_;
    Reactor reactor_;
    Background background_;
    ContextCache contexts_;
    PemJudge pems_;
    std::unique_ptr<SocketPairs> pairs_;  // null: no network namespace can be made
    std::optional<Registry> registry_;
    std::vector<std::thread> threads_;
};

// A companion with its fronts.
class Service {
 public:
    Service() = default;
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;
    virtual ~Service() = default;

    virtual Registry& registry() = 0;
    virtual void set_policy(const Policy& policy) = 0;
    virtual void stop() = 0;
};

}  // namespace tlsfs
