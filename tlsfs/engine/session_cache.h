// SPDX-License-Identifier: MIT
// The client's resumable sessions. Keys name the owner, the policy and the server, so that one
// user's or one policy's session never serves another.
#pragma once

#include <ctime>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/openssl_ptr.h"

namespace tlsfs {

// A session, and when the peer has to be verified again. Resuming does not: a TLS 1.3 server hands
// out new tickets each time, which have an age of their own.
struct VerifiedSession {
    SslSessionPtr session;
    std::time_t until = 0;
};

class SessionCache {
 public:
    void put(const std::string& key, VerifiedSession session);

    // The newest session of `key`, or none. It leaves the cache if it is a TLS 1.3 ticket: those
    // are for one use (RFC 8446 appendix C.4).
    [[nodiscard]] VerifiedSession take(const std::string& key);

    // Drops what is too old to be offered. How many those were.
    std::size_t expire();

 private:
    static constexpr std::size_t kMaxServers = 512;  // the least recently used goes first
    static constexpr std::size_t kMaxPerServer = 4;

    struct Server {
        std::string key;
        std::vector<VerifiedSession> sessions;  // newest last
    };
    using Servers = std::list<Server>;  // most recently used first

    Servers::iterator find_or_add(const std::string& key);

    std::mutex lock_;  // guards all below
    Servers servers_;
    std::unordered_map<std::string, Servers::iterator> by_key_;
};

}  // namespace tlsfs
