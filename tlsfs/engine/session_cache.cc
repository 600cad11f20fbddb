// SPDX-License-Identifier: MIT
#include "engine/session_cache.h"

#include <ctime>

namespace tlsfs {
namespace {

std::time_t start_of(const SslSessionPtr& session) {
#if OPENSSL_VERSION_PREREQ(3, 3)
    return SSL_SESSION_get_time_ex(session.get());
#else
    return SSL_SESSION_get_time(session.get());
#endif
}

bool too_old(const VerifiedSession& kept) {
    const std::time_t now = std::time(nullptr);
    return now >= kept.until ||
           now - start_of(kept.session) >= SSL_SESSION_get_timeout(kept.session.get());
}

}  // namespace

SessionCache::Servers::iterator SessionCache::find_or_add(const std::string& key) {
    if (const auto found = by_key_.find(key); found != by_key_.end()) {
        servers_.splice(servers_.begin(), servers_, found->second);
        return found->second;
    }
    if (servers_.size() == kMaxServers) {
        by_key_.erase(servers_.back().key);
        servers_.pop_back();
    }
    servers_.push_front({key, {}});
    by_key_.emplace(key, servers_.begin());
    return servers_.begin();
}

void SessionCache::put(const std::string& key, VerifiedSession session) {
    const std::scoped_lock guard(lock_);
    auto& sessions = find_or_add(key)->sessions;
    if (sessions.size() == kMaxPerServer) sessions.erase(sessions.begin());
    sessions.push_back(std::move(session));
}

VerifiedSession SessionCache::take(const std::string& key) {
    const std::scoped_lock guard(lock_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return {};
    auto& sessions = found->second->sessions;
    std::erase_if(sessions, too_old);
    if (sessions.empty()) return {};
    VerifiedSession& newest = sessions.back();
    if (SSL_SESSION_get_protocol_version(newest.session.get()) < TLS1_3_VERSION) {
        SSL_SESSION_up_ref(newest.session.get());
        return {SslSessionPtr(newest.session.get()), newest.until};
    }
    VerifiedSession taken = std::move(newest);
    sessions.pop_back();
    return taken;
}

std::size_t SessionCache::expire() {
    std::size_t dropped = 0;
    const std::scoped_lock guard(lock_);
    for (auto server = servers_.begin(); server != servers_.end();) {
        dropped += std::erase_if(server->sessions, too_old);
        if (!server->sessions.empty()) {
            ++server;
            continue;
        }
        by_key_.erase(server->key);
        server = servers_.erase(server);
    }
    return dropped;
}

}  // namespace tlsfs
