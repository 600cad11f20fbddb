// SPDX-License-Identifier: MIT
#include "attach/front.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "attach/guest.h"
#include "attach/packet.h"
#include "io/peer_user.h"

namespace tlsfs {

Result<UniqueFd> AttachFront::make_socket() {
    UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) return system_failure("attach: socket");
    // Who connected and who sends need not be the same: both have to be the owner. Guests inherit
    // it; set on each, it would come too late for a message that is there when it is accepted.
    const int on = 1;
    if (setsockopt(fd.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) {
        return system_failure("attach: SO_PASSCRED");
    }
    return fd;
}

Result<> AttachFront::listen(UniqueFd bound) {
    if (::listen(bound.get(), SOMAXCONN) != 0) return system_failure("attach: listen");
    const std::scoped_lock guard(lock_);
    listener_ = std::move(bound);
    watch_ = Reactor::Watch(reactor_, listener_.get(), weak_from_this());
    watch_.arm(EPOLLIN);
    return {};
}

void AttachFront::close() {
    {
        const std::unique_lock guard(open_lock_);
        closed_ = true;
    }
    std::set<std::shared_ptr<AttachGuest>> last;
    {
        const std::scoped_lock guard(lock_);
        watch_.reset();
        // Those who wait to be accepted may have sent descriptors, and closing takes them along.
        if (listener_.valid()) background_.close(geteuid(), std::move(listener_));
        last.swap(guests_);
        per_user_.clear();
    }
    for (const auto& guest : last) guest->end();
}

void AttachFront::leave(const std::shared_ptr<AttachGuest>& guest, uid_t user) {
    const std::scoped_lock guard(lock_);
    if (guests_.erase(guest) == 0) return;
    const auto used = per_user_.find(user);
    if (--used->second == 0) per_user_.erase(used);
}

void AttachFront::discard(uid_t user, std::vector<UniqueFd>& fds) {
    for (UniqueFd& fd : fds) {
        if (fd.valid()) background_.close(user, std::move(fd));
    }
    fds.clear();
}

bool AttachFront::while_open(const std::function<void()>& work) {
    const std::shared_lock guard(open_lock_);
    if (!closed_) work();
    return !closed_;
}

// Needs lock_. The listener stays readable: so it is not watched for a while.
void AttachFront::look_later() {
    reactor_.after(std::chrono::milliseconds{100}, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->ready(-1);
    });
}

void AttachFront::ready(int) {
    const std::scoped_lock guard(lock_);
    if (!listener_.valid()) return;
    watch_.fired();
    for (;;) {
        UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (fd.valid()) {
            welcome(std::move(fd));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            return look_later();
        } else if (errno != EINTR && errno != ECONNABORTED) {
            break;
        }
    }
    watch_.arm(EPOLLIN);
}

// Needs lock_.
void AttachFront::welcome(UniqueFd fd) {
    const auto user = peer_user(fd.get());
    if (!user) return background_.close(geteuid(), std::move(fd));
    if (const auto admitted = admit(*user); !admitted) {
        (void)send_packet(fd.get(), failure_text(admitted.error()));  // it may have gone already
        return background_.close(*user, std::move(fd));
    }
    ++per_user_[*user];
    const auto guest = std::make_shared<AttachGuest>(shared_from_this(), std::move(fd), *user);
    guests_.insert(guest);
    guest->begin();
}

// Needs lock_.
Result<> AttachFront::admit(uid_t user) {
    if (!options_.all_users && user != geteuid()) {
        return failure(EPERM, "attach: this companion serves its own user only");
    }
    const auto known = per_user_.find(user);
    if (guests_.size() >= options_.most_guests ||
        (known != per_user_.end() && known->second >= options_.most_of_one)) {
        return failure(EMFILE, "attach: too many are attached");
    }
    return {};
}

}  // namespace tlsfs
