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

// Resuming skips the look at the certificate: that has to end some time.
bool too_old(const SslSessionPtr& session) {
    const std::time_t age = std::time(nullptr) - start_of(session);
    return age >= SSL_SESSION_get_timeout(session.get());
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

void SessionCache::put(const std::string& key, SslSessionPtr session) {
    const std::scoped_lock guard(lock_);
    auto& sessions = find_or_add(key)->sessions;
    if (sessions.size() == kMaxPerServer) sessions.erase(sessions.begin());
    sessions.push_back(std::move(session));
}

SslSessionPtr SessionCache::take(const std::string& key) {
    const std::scoped_lock guard(lock_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end() || found->second->sessions.empty()) return nullptr;
    auto& sessions = found->second->sessions;
    std::erase_if(sessions, too_old);
    if (sessions.empty()) return nullptr;
    if (SSL_SESSION_get_protocol_version(sessions.back().get()) < TLS1_3_VERSION) {
        SSL_SESSION_up_ref(sessions.back().get());
        return SslSessionPtr(sessions.back().get());
    }
    SslSessionPtr newest = std::move(sessions.back());
    sessions.pop_back();
    return newest;
}

}  // namespace tlsfs
