// SPDX-License-Identifier: MIT
#include "acceptor.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "report.h"

namespace tlsfs::cmd {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRest{1000};  // until accept is tried again

int poll_limit(std::optional<milliseconds> limit, bool resting) {
    if (resting) limit = std::min(limit.value_or(kRest), kRest);
    return limit ? static_cast<int>(limit->count()) : -1;
}

}  // namespace

bool Acceptor::wait(std::span<const int> others, bool full, std::optional<milliseconds> limit) {
    std::vector<pollfd> watched;
    watched.reserve(others.size() + listeners_.size());
    for (const int other : others) watched.push_back({other, POLLIN, 0});
    if (!full && !resting_) {
        for (const UniqueFd& listener : listeners_) watched.push_back({listener.get(), POLLIN, 0});
    }
    ready_.clear();
    const int count = poll(watched.data(), watched.size(), poll_limit(limit, resting_));
    resting_ = false;
    if (count < 0) return errno == EINTR;
    for (const pollfd& listener : std::span(watched).subspan(others.size())) {
        if ((listener.revents & POLLIN) != 0) ready_.push_back(listener.fd);
    }
    // Where there is room for one only, it is not always the same listener's.
    if (!ready_.empty()) {
        const auto first = static_cast<std::ptrdiff_t>(turn_++ % ready_.size());
        std::rotate(ready_.begin(), ready_.begin() + first, ready_.end());
    }
    return true;
}

std::optional<Accepted> Acceptor::next() {
    while (!ready_.empty()) {
        const int listener = ready_.back();
        ready_.pop_back();
        SocketAddress peer;
        UniqueFd socket_fd(accept4(listener, peer.get(), &peer.size, SOCK_CLOEXEC));
        if (socket_fd.valid()) return Accepted{std::move(socket_fd), without_mapping(peer)};
        accept_failed();
    }
    return std::nullopt;
}

void Acceptor::accept_failed() {
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
    complain_of_system("accept");
    rest();
}

}  // namespace tlsfs::cmd
