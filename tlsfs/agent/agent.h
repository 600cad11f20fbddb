// SPDX-License-Identifier: MIT
// The module's other end: its events become calls on connections, and their answers its ioctls.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "agent/agent_device.h"
#include "connection/registry.h"
#include "io/reactor.h"

namespace tlsfs {

class Agent final : public Reactor::Handler, public std::enable_shared_from_this<Agent> {
 public:
    Agent(AgentDevice device, Reactor& reactor, Registry& registry)
        : device_(std::make_shared<AgentDevice>(std::move(device))),
          reactor_(reactor),
          registry_(registry) {}

    // From the next opening on.
    void limit(const Limits& limits);

    // Connections that an earlier agent established are named again first.
    void start();
    void stop() {
        const std::scoped_lock guard(lock_);
        watch_.reset();
    }

    [[nodiscard]] const tlsdev_info& info() const { return device_->info(); }

    void ready(int fd) override;

 private:
    class End;
    class Lines;
    // The marks of those whose lines are under way: set when a signal has come for the writer.
    struct Waiting {
        std::mutex lock;
        std::map<std::pair<__u64, __u32>, std::shared_ptr<std::atomic<bool>>> marks;
    };

    void take(const AgentDevice::Event& event);
    void open(const tlsdev_event& head);
    void adopt(const AgentDevice::Event& event);
    void lines(const AgentDevice::Event& event);
    void interrupt(const tlsdev_event& head);
    [[nodiscard]] std::shared_ptr<Connection> find(__u64 id) const;

    std::shared_ptr<AgentDevice> device_;
    Reactor& reactor_;
    Registry& registry_;
    std::shared_ptr<Waiting> waiting_ = std::make_shared<Waiting>();
    std::mutex lock_;       // guards the watch: an event may come before arm() has returned
    Reactor::Watch watch_;  // one-shot: one thread at a time takes events, in their order
};

}  // namespace tlsfs
