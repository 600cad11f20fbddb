// SPDX-License-Identifier: MIT
#include "connection/registry.h"

#include <fmt/format.h>

#include "channel/linger.h"

namespace tlsfs {
namespace {
constexpr Connection::Number kLastNumber = 0x7fffffff;
}

void Registry::set_policy(Policy policy) {
    auto next = std::make_shared<const Policy>(std::move(policy));
    const std::scoped_lock guard(lock_);
    policy_ = std::move(next);
}

std::shared_ptr<const Policy> Registry::policy() {
    const std::scoped_lock guard(lock_);
    return policy_;
}

tl::unexpected<Error> Registry::refused(Caller owner, int code, std::string why) {
    services_.log.say_for(owner.uid, LogLevel::warning,
                          fmt::format("no connection for user {}: {}", owner.uid, why));
    return failure(code, std::move(why));
}

Result<std::shared_ptr<Connection>> Registry::create(Caller owner) {
    const std::scoped_lock guard(lock_);
    return add(owner, take_number(), nullptr);
}

Result<std::shared_ptr<Connection>> Registry::create(Caller owner, Connection::Number number,
                                                     std::unique_ptr<KernelEnd> kernel) {
    const std::scoped_lock guard(lock_);
    if (connections_.contains(number)) return failure(EEXIST, "the number is in use");
    return add(owner, number, std::move(kernel));
}

// Needs lock_.
Result<std::shared_ptr<Connection>> Registry::add(Caller owner, Connection::Number number,
                                                  std::unique_ptr<KernelEnd> kernel) {
    if (abandoned_) return failure(ENODEV, "the companion is stopping");
    const Limits limits = policy_->limits;
    if (connections_.size() >= limits.connections) {
        return refused(owner, ENFILE,
                       fmt::format("the mount has its {} connections", limits.connections));
    }
    const auto known = per_user_.find(owner.uid);
    if (known != per_user_.end() && known->second >= limits.per_user) {
        return refused(owner, EMFILE,
                       fmt::format("the user has their {} connections", limits.per_user));
    }
    auto connection =
        std::make_shared<Connection>(number, owner, services_, policy_, std::move(kernel));
    if (!connection->opened()) return failure(ENODEV, "the connection is over");
    connections_.emplace(number, connection);
    ++per_user_[owner.uid];
    return connection;
}

// Counts on and on, so that a number just freed does not at once mean somebody else.
Connection::Number Registry::take_number() {
    while (connections_.contains(next_)) next_ = next_ == kLastNumber ? 0 : next_ + 1;
    const auto number = next_;
    next_ = next_ == kLastNumber ? 0 : next_ + 1;
    return number;
}

std::shared_ptr<Connection> Registry::find(Connection::Number number, uid_t uid) {
    const std::scoped_lock guard(lock_);
    const auto found = connections_.find(number);
    if (found == connections_.end()) return nullptr;
    if (uid != 0 && found->second->owner().uid != uid) return nullptr;
    return found->second;
}

std::vector<Connection::Number> Registry::list(uid_t uid) {
    std::vector<Connection::Number> numbers;
    const std::scoped_lock guard(lock_);
    for (const auto& [number, connection] : connections_) {
        if (uid == 0 || connection->owner().uid == uid) numbers.push_back(number);
    }
    return numbers;
}

void Registry::release(const std::shared_ptr<Connection>& connection) {
    if (!connection->released()) return;
    const std::scoped_lock guard(lock_);
    if (connections_.erase(connection->number()) == 0) return;
    const auto used = per_user_.find(connection->owner().uid);
    if (--used->second == 0) per_user_.erase(used);
    if (connections_.empty()) idle_since_ = Clock::now();
}

std::optional<Registry::Clock::time_point> Registry::idle_since() {
    const std::scoped_lock guard(lock_);
    if (!connections_.empty()) return std::nullopt;
    if (anything_lingers()) idle_since_ = Clock::now();
    return idle_since_;
}

void Registry::abandon(int code) {
    std::map<Connection::Number, std::shared_ptr<Connection>> last;
    {
        const std::scoped_lock guard(lock_);
        abandoned_ = true;
        last.swap(connections_);
    }
    for (const auto& [number, connection] : last) connection->abandon(code);
}

}  // namespace tlsfs
