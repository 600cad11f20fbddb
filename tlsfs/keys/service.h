// SPDX-License-Identifier: MIT
// Answers to messages: who may have what, and the signatures. Knows nothing of sockets.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "core/key_message.h"
#include "core/log.h"
#include "core/rate_bound.h"
#include "keys/identity_directory.h"
#include "keys/lane.h"

namespace tlsfs::keys {

class KeyService {
 public:
    using Reply = std::function<void(Bytes)>;

    struct Rules {
        std::optional<uid_t> only;  // serve this user alone
        double signatures = 5000;   // a second, for each user
    };

    KeyService(IdentityDirectory& identities, Rules rules, Log& log);

    [[nodiscard]] bool serves(uid_t caller) const { return !rules_.only || *rules_.only == caller; }

    // `caller`: who is at the other end of the socket, as the kernel says. `reply` is called once,
    // before this returns unless the key is slow. Any thread.
    void answer(uid_t caller, ByteView message, const Reply& reply);

 private:
    // A request that may be carried out.
    struct Order {
        uid_t user;
        Role role;
        SignOrder sign;
        std::shared_ptr<const KeptIdentity> identity;
        std::shared_ptr<const Credential> credential;
        const SchemeFacts* scheme;
        Bytes content;  // as it was put together here
    };

    // ENOENT where it is not there or not for this user or role: the answer is the same.
    [[nodiscard]] Result<std::shared_ptr<const KeptIdentity>> permitted(const KeyRequest& request,
                                                                        uid_t user);
    [[nodiscard]] Result<Bytes> found(const KeyRequest& request, uid_t user);
    [[nodiscard]] Result<Order> examine(KeyRequest request, uid_t user);
    [[nodiscard]] Result<> count(uid_t user);
    void carry_out(Order order, const Reply& reply);
    [[nodiscard]] Bytes sign(const Order& order);
    void refuse(uid_t user, const std::string& name, const Error& error, const Reply& reply);
    [[nodiscard]] bool run_in_lane(const std::string& name, Lane::Task task);

    IdentityDirectory& identities_;
    const Rules rules_;
    Log& log_;
    const std::vector<Bytes> primes_;  // of RFC 3526, 2048 to 4096 bits

    std::mutex lock_;  // guards all below; nothing waits under it
    RateBound rate_;
    std::map<std::string, Lane> lanes_;  // by identity
};

}  // namespace tlsfs::keys
