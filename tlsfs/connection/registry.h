// SPDX-License-Identifier: MIT
// The connections of a mount: their numbers and how many there may be.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "connection/connection.h"
#include "core/policy.h"

namespace tlsfs {

class Registry {
 public:
    using Clock = std::chrono::steady_clock;

    Registry(const Services& services, Policy policy) : services_(services) {
        services_.release = [this](const auto& connection) { release(connection); };
        set_policy(std::move(policy));
    }

    // For the connections from now on; those there are keep theirs.
    void set_policy(Policy policy);
    [[nodiscard]] std::shared_ptr<const Policy> policy();

    // A new connection, already opened() once. EMFILE: the user has enough; ENFILE: the mount has.
    [[nodiscard]] Result<std::shared_ptr<Connection>> create(Caller owner);
    // The same for one that the module made and numbered.
    [[nodiscard]] Result<std::shared_ptr<Connection>> create(Caller owner,
                                                             Connection::Number number,
                                                             std::unique_ptr<KernelEnd> kernel);

    // The connection of that number, if `uid` may know of it: its owner and root may.
    [[nodiscard]] std::shared_ptr<Connection> find(Connection::Number number, uid_t uid);
    [[nodiscard]] std::vector<Connection::Number> list(uid_t uid);

    // One opened file of the connection less. With the last the number is free.
    void release(const std::shared_ptr<Connection>& connection);

    // Since when there has been no connection; nothing while there is one.
    [[nodiscard]] std::optional<Clock::time_point> idle_since();

    // No more connections; those there are end, and whoever waits on them gets `code`.
    void abandon(int code);

 private:
    [[nodiscard]] Connection::Number take_number();
    [[nodiscard]] Result<std::shared_ptr<Connection>> add(Caller owner, Connection::Number number,
                                                          std::unique_ptr<KernelEnd> kernel);
    [[nodiscard]] tl::unexpected<Error> refused(Caller owner, int code, std::string why);

    Services services_;

    std::mutex lock_;  // guards all below; taken before a connection's, and that only while
                       // nobody else knows the connection
    std::shared_ptr<const Policy> policy_;
    std::map<Connection::Number, std::shared_ptr<Connection>> connections_;
    std::unordered_map<uid_t, std::size_t> per_user_;
    Connection::Number next_ = 0;
    Clock::time_point idle_since_ = Clock::now();
    bool abandoned_ = false;
};

}  // namespace tlsfs
