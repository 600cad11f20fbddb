// SPDX-License-Identifier: MIT
#include "keys/front.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "io/peer_user.h"

namespace tlsfs::keys {
namespace {

// Of a thread: a message lives only until it is understood.
Bytes& buffer() {
    thread_local Bytes bytes(kMaxKeyRequest + 1);
    return bytes;
}

}  // namespace

void KeyFront::listen(UniqueFd listening) {
    const std::scoped_lock guard(lock_);
    listener_ = std::move(listening);
    watch_ = Reactor::Watch(reactor_, listener_.get(), weak_from_this());
    watch_.arm(EPOLLIN);
}

void KeyFront::ready(int) {
    constexpr int kAtOnce = 64;
    bool out_of_descriptors = false;
    for (int i = 0; i < kAtOnce && !out_of_descriptors; ++i) {
        UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        out_of_descriptors =
            !fd.valid() && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED;
        if (!fd.valid()) break;
        welcome(std::move(fd));
    }
    if (out_of_descriptors) return look_later();
    const std::scoped_lock guard(lock_);
    watch_.fired();
    watch_.arm(EPOLLIN);
}

// The listener stays readable: it would wake us again at once.
void KeyFront::look_later() {
    log_.say(LogLevel::error, fmt::format("no more guests now: {}", std::strerror(errno)));
    reactor_.after(std::chrono::milliseconds{100}, [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (!self) return;
        const std::scoped_lock guard(self->lock_);
        self->watch_.fired();
        self->watch_.arm(EPOLLIN);
    });
}

bool KeyFront::admit(uid_t user) {
    if (!service_.serves(user) || guests_.size() >= kMostGuests) return false;
    std::size_t& own = per_user_[user];
    if (own >= kMostOfOne) return false;
    ++own;
    return true;
}

void KeyFront::welcome(UniqueFd fd) {
    const auto user = peer_user(fd.get());
    if (!user) return;
    std::shared_ptr<KeyGuest> guest;
    {
        const std::scoped_lock guard(lock_);
        if (!admit(*user)) {
            log_.say_for(*user, LogLevel::warning, fmt::format("user {} is not let in", *user));
            return;
        }
        guest = std::make_shared<KeyGuest>(reactor_, *this, std::move(fd), *user);
        guests_.insert(guest);
    }
    guest->begin();
}

void KeyFront::leave(const std::shared_ptr<KeyGuest>& guest, uid_t user) {
    const std::scoped_lock guard(lock_);
    if (guests_.erase(guest) == 0) return;
    const auto own = per_user_.find(user);
    if (--own->second == 0) per_user_.erase(own);
}

void KeyGuest::begin() {
    const std::scoped_lock guard(lock_);
    watch_ = Reactor::Watch(reactor_, fd_.get(), weak_from_this());
    watch_.arm(EPOLLIN);
}

void KeyGuest::look_again() {
    const std::scoped_lock guard(lock_);
    watch_.fired();
    watch_.arm(EPOLLIN);
}

void KeyGuest::ready(int) {
    Bytes& bytes = buffer();
    const ssize_t size = recv(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return look_again();
    if (size <= 0) return leave();
    // One byte too many: what was cut off is no message either.
    front_.service().answer(
        user_, ByteView(bytes).first(static_cast<std::size_t>(size)),
        [self = shared_from_this()](const Bytes& answer) { self->reply(answer); });
}

// Who does not read its answers gets no more of them.
void KeyGuest::reply(const Bytes& answer) {
    const ssize_t sent = send(fd_.get(), answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(answer.size())) return leave();
    look_again();
}

void KeyGuest::leave() {
    front_.leave(shared_from_this(), user_);
}

}  // namespace tlsfs::keys
