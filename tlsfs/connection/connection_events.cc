// SPDX-License-Identifier: MIT
// What the parts of a connection tell it, and what follows.
#include "connection/connection.h"

namespace tlsfs {

void Connection::ready(int fd) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    Setup* setup = endpoint_.setup();
    if (setup == nullptr || setup->handshake() == nullptr) return;
    setup->handshake()->fired(fd);
    if (setup->handshake()->is_slow()) {
        return services_.background.run(owner().uid, [weak = weak_from_this()] {
            if (const auto events = weak.lock()) events->continue_handshake();
        });
    }
    if (auto outcome = endpoint_.continue_handshake()) ctl_.finish(std::move(*outcome), answers);
    rearm();
}

void Connection::continue_handshake() {
    Answers answers;
    const std::scoped_lock guard(lock_);
    Setup* setup = endpoint_.setup();
    if (setup == nullptr || setup->handshake() == nullptr) return;
    if (auto outcome = endpoint_.continue_handshake()) ctl_.finish(std::move(*outcome), answers);
    rearm();
}

void Connection::rearm() {
    Setup* setup = endpoint_.setup();
    if (setup != nullptr && setup->handshake() != nullptr) setup->handshake()->rearm();
}

void Connection::dialled(const std::shared_ptr<Cancellation>& attempt, Result<UniqueFd> outcome) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    Setup* setup = endpoint_.setup();
    if (setup == nullptr) return;
    auto set = setup->dialled(attempt, std::move(outcome));
    if (!set) return;  // given up meanwhile
    ctl_.finish(std::move(*set), answers);
    rearm();
}

void Connection::dial_timed_out() {
    Answers answers;
    const std::scoped_lock guard(lock_);
    Setup* setup = endpoint_.setup();
    const auto error = setup != nullptr ? setup->dial_timed_out() : std::nullopt;
    if (error) ctl_.finish(tl::unexpected(*error), answers);
}

void Connection::handshake_timed_out() {
    Answers answers;
    const std::scoped_lock guard(lock_);
    if (endpoint_.state() != State::handshaking) return;
    ctl_.finish(endpoint_.fail_handshake({ETIMEDOUT, "handshake: the timeout ran out"}), answers);
}

}  // namespace tlsfs
