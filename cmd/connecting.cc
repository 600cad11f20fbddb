// SPDX-License-Identifier: MIT
#include "connecting.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "report.h"

namespace tlsfs::cmd {
namespace {

using Clock = std::chrono::steady_clock;

// A full queue of a Unix socket gives no event when there is room again.
constexpr std::chrono::milliseconds kRetry{20};

bool is_ready(int fd, short events) {
    pollfd entry{fd, events, 0};
    return poll(&entry, 1, 0) == 1;
}

tl::unexpected<Error> plain_failure(int code) {
    return failure(code, std::strerror(code));
}

}  // namespace

const std::array<Connecting::Entry, 5> Connecting::kEntries{{
    {State::target, &Connecting::begin_target},
    {State::lookup, &Connecting::end_lookup},
    {State::address, &Connecting::begin_address},
    {State::retry, &Connecting::begin_connect},
    {State::progress, &Connecting::end_connect},
}};

Connecting::Connecting(Targets& targets)
    : limit_(targets.limit()), order_(targets.next_order()), target_(order_.begin()) {}

Result<std::optional<Wants>> Connecting::go() {
    while (state_ != State::connected) {
        wants_.reset();
        auto done = step();
        if (!done) done = next_after(done.error());
        if (!done) return tl::unexpected(done.error());
        if (wants_) return wants_;
    }
    return std::nullopt;
}

Result<> Connecting::step() {
    const auto entry = std::ranges::find(kEntries, state_, &Entry::state);
    return (this->*entry->go)();
}

bool Connecting::is_late() const {
    return Clock::now() >= deadline_;
}

void Connecting::wait_for(State state, Wants wants) {
    state_ = state;
    wants_ = wants;
}

Result<> Connecting::begin_target() {
    const Target& target = **target_;
    state_ = State::address;
    if (!target.path.empty()) {
        const auto address = path_address(target.path);
        if (!address) return plain_failure(ENAMETOOLONG);
        addresses_ = {*address};
        return {};
    }
    addresses_ = numeric_addresses(target.address);
    if (!addresses_.empty()) return {};
    deadline_ = Clock::now() + limit_;
    try {
        lookup_.emplace(target.address);
    } catch (const std::system_error& shortage) {
        return failure(shortage.code().value(), shortage.what());
    }
    wait_for(State::lookup, {lookup_->fd(), EPOLLIN, deadline_});
    return {};
}

Result<> Connecting::end_lookup() {
    if (!is_ready(lookup_->fd(), POLLIN)) {
        if (is_late()) return plain_failure(ETIMEDOUT);
        wait_for(State::lookup, {lookup_->fd(), EPOLLIN, deadline_});
        return {};
    }
    auto found = lookup_->take();
    if (!found) return tl::unexpected(found.error());
    addresses_ = std::move(*found);
    state_ = State::address;
    return {};
}

Result<> Connecting::begin_address() {
    const int flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    socket_fd_ = UniqueFd(socket(addresses_.front().family(), flags, 0));
    if (!socket_fd_.valid()) return system_failure("socket");
    deadline_ = Clock::now() + limit_;
    return begin_connect();
}

Result<> Connecting::begin_connect() {
    const SocketAddress& address = addresses_.front();
    if (connect(socket_fd_.get(), address.get(), address.size) == 0) {
        state_ = State::connected;
    } else if (errno == EINPROGRESS) {
        wait_for(State::progress, {socket_fd_.get(), EPOLLOUT, deadline_});
    } else if (errno == EAGAIN && !is_late()) {
        wait_for(State::retry, {-1, 0, std::min(deadline_, Clock::now() + kRetry)});
    } else {
        return plain_failure(errno == EAGAIN ? ETIMEDOUT : errno);
    }
    return {};
}

Result<> Connecting::end_connect() {
    if (!is_ready(socket_fd_.get(), POLLOUT)) {
        if (is_late()) return plain_failure(ETIMEDOUT);
        wait_for(State::progress, {socket_fd_.get(), EPOLLOUT, deadline_});
        return {};
    }
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(socket_fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) return plain_failure(error);
    state_ = State::connected;
    return {};
}

// The target's next address, or the next target. The descriptors of this attempt are closed by the
// next one, when nobody waits for them any more.
Result<> Connecting::next_after(const Error& why) {
    if (!addresses_.empty()) addresses_.erase(addresses_.begin());
    if (!addresses_.empty()) {
        state_ = State::address;
        return {};
    }
    const std::string cause = (*target_)->text + ": " + why.text;
    if (target_ + 1 == order_.end()) return failure(why.code, cause);
    say(cause + "; trying the next");
    ++target_;
    state_ = State::target;
    return {};
}

}  // namespace tlsfs::cmd
