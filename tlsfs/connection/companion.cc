// SPDX-License-Identifier: MIT
#include "connection/companion.h"

#include <algorithm>

namespace tlsfs {

unsigned Companion::threads_wanted() {
    return std::clamp(std::thread::hardware_concurrency(), 2U, 8U);
}

void Companion::prepare(const Policy& policy, dev_t own_mount) {
    if (auto pairs = SocketPairs::start()) {
        pairs_ = std::move(*pairs);
    } else {
        log_.say(LogLevel::warning, "without data sockets: " + pairs.error().text);
    }
    registry_.emplace(
        Services{reactor_, background_, contexts_, pems_, log_, own_mount, pairs_.get(), {}},
        policy);
}

// What has grown old goes, also where nobody asks for anything any more.
void Companion::expire() {
    constexpr std::chrono::minutes kPause{1};
    contexts_.expire();
    reactor_.after(kPause, [this] { expire(); });
}

void Companion::start() {
    background_.start();
    expire();
    const unsigned count = threads_wanted();
    for (unsigned i = 0; i < count; ++i) threads_.emplace_back([this] { reactor_.run(); });
}

void Companion::set_policy(const Policy& policy) {
    contexts_.set_trust(policy.trust);
    contexts_.set_key_socket(policy.key_socket);
    registry_->set_policy(policy);
}

void Companion::stop() {
    if (registry_) registry_->abandon(ECONNABORTED);
    reactor_.stop();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
}

}  // namespace tlsfs
