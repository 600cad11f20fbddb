// SPDX-License-Identifier: MIT
// A connection's plain side: who gets it, and that it is over.
#include "connection/connection.h"

namespace tlsfs {
namespace {

// How long `status` still says why a connection broke, where nobody was told.
constexpr std::chrono::seconds kRemembered{10};

}  // namespace

Result<> Connection::open_data() {
    const std::scoped_lock guard(lock_);
    const Facts& facts = endpoint_.facts();
    const bool fresh = facts.state() == State::fresh;
    if (fresh && ctl_.unseen_failure() != 0) {
        return failure(ctl_.unseen_failure(), "data: " + facts.fields.error);
    }
    if (fresh || facts.state() == State::handshaking) {
        return failure(ENOTCONN, "data: no handshake yet");
    }
    if (UserChannel* user = endpoint_.user()) return user->open_data();
    return failure(facts.gone_code(), "data: the connection is over");
}

Result<UniqueFd> Connection::data_socket() {
    const std::scoped_lock guard(lock_);
    const Facts& facts = endpoint_.facts();
    if (facts.state() == State::fresh || facts.state() == State::handshaking) {
        return failure(ENOTCONN, "data socket: no handshake yet");
    }
    if (endpoint_.in_kernel()) return failure(EOPNOTSUPP, "data socket: the engine is kernel");
    if (UserChannel* user = over_ ? nullptr : endpoint_.user()) return user->data_socket();
    return failure(facts.gone_code(), "data socket: the connection is over");
}

void Connection::watch(std::shared_ptr<StateWatcher> watcher) {
    const std::scoped_lock guard(lock_);
    watcher_ = std::move(watcher);
}

void Connection::channel_changed() {
    std::shared_ptr<StateWatcher> watcher;
    std::string status;
    bool over = false;
    {
        const std::scoped_lock guard(lock_);
        endpoint_.refresh();
        over = endpoint_.user()->is_over();
        if (std::exchange(told_, endpoint_.state()) != endpoint_.state() || over) {
            watcher = watcher_;
        }
        if (watcher) status = endpoint_.status();
        if (over) watcher_.reset();
    }
    if (watcher) watcher->changed(status);
    const bool told = watcher && over && watcher->over();
    if (over) plain_is_over(told);
}

void Connection::let_go() {
    UserChannel* user = nullptr;
    {
        const std::scoped_lock guard(lock_);
        user = endpoint_.user();
    }
    if (user != nullptr) user->let_go();
}

// What the plain side held is given back.
void Connection::plain_is_over(bool told) {
    bool held = false, failed = false;
    {
        const std::scoped_lock guard(lock_);
        held = endpoint_.user()->stop_holding();
        failed = endpoint_.state() == State::error;
    }
    if (!held) return;
    const auto self = std::static_pointer_cast<Connection>(shared_from_this());
    if (!failed || told) return services_.release(self);
    services_.reactor.after(kRemembered, [weak = std::weak_ptr(self), release = services_.release] {
        if (const auto connection = weak.lock()) release(connection);
    });
}

}  // namespace tlsfs
