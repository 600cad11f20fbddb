// SPDX-License-Identifier: MIT
// A companion without a mount: all that it has is a socket.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "attach/front.h"
#include "connection/companion.h"
#include "io/bind.h"

namespace tlsfs {

class AttachServer final : public Service {
 public:
    // Binds the socket; nobody can connect yet. To be called before there are threads.
    [[nodiscard]] static Result<std::unique_ptr<AttachServer>> bind(const std::string& path,
                                                                    bool all_users,
                                                                    const Policy& policy, Log& log);
    ~AttachServer() override { stop(); }

    [[nodiscard]] Result<> start();

    Registry& registry() override { return companion_.registry(); }
    void set_policy(const Policy& policy) override { companion_.set_policy(policy); }
    // Ends every connection, and answers everybody who waits.
    void stop() override;

 private:
    AttachServer(const Policy& policy, Log& log) : companion_(policy, log) {}

    Companion companion_;
    std::shared_ptr<AttachFront> front_;
    UniqueFd socket_;  // until start()
    std::optional<BoundPath> path_;
};

}  // namespace tlsfs
