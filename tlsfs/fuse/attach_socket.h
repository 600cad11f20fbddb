// SPDX-License-Identifier: MIT
// `attach`: the carrier comes to us, where we may not take it. One message: the connection's number
// and one or two descriptors. One reply: `ok`, or the errno's name and a text.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "device/registry.h"
#include "io/reactor.h"

namespace tlsfs {

class AttachSocket final : public Reactor::Handler,
                           public std::enable_shared_from_this<AttachSocket> {
 public:
    AttachSocket(Reactor& reactor, Background& background, Registry& registry)
        : reactor_(reactor), background_(background), registry_(registry) {}

    // Binds in the mounted tree itself, which must be served already.
    [[nodiscard]] Result<> open(const std::string& mount_point);
    void close();

    // True for the thread that binds the socket: then, and only then, the node may be made.
    [[nodiscard]] bool binding(pid_t thread);
    [[nodiscard]] bool bound() const { return bound_; }
    [[nodiscard]] bool listening() const { return listening_; }

    void ready(int fd) override;

 private:
    class Guest;
    [[nodiscard]] Result<> bind(int listener, const std::string& mount_point);
    void leave(const std::shared_ptr<Guest>& guest);

    void look_later();

    Reactor& reactor_;
    Background& background_;
    Registry& registry_;
    std::atomic<pid_t> binder_ = 0;
    std::atomic<bool> bound_ = false;
    std::atomic<bool> listening_ = false;

    std::mutex lock_;  // guards all below
    UniqueFd listener_;
    Reactor::Watch watch_;
    std::set<std::shared_ptr<Guest>> guests_;
};

}  // namespace tlsfs
