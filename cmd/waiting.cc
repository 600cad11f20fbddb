// SPDX-License-Identifier: MIT
#include "waiting.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <tuple>

namespace tlsfs::cmd {
namespace {

using std::chrono::ceil;
using std::chrono::milliseconds;

int milliseconds_until(std::optional<Deadline> deadline) {
    if (!deadline) return -1;
    const auto left = ceil<milliseconds>(*deadline - std::chrono::steady_clock::now());
    return static_cast<int>(std::max<milliseconds::rep>(left.count(), 0));
}

}  // namespace

Event::Event() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!fd_.valid()) throw std::system_error(errno, std::generic_category(), "eventfd");
}

// Neither can fail but by being set, or clear, already.
void Event::set() const {
    std::ignore = eventfd_write(fd_.get(), 1);
}

void Event::clear() const {
    eventfd_t count = 0;
    std::ignore = eventfd_read(fd_.get(), &count);
}

Waited wait_for(int fd, short events, const Event& call_off, std::optional<Deadline> deadline) {
    std::array watched{pollfd{fd, events, 0}, pollfd{call_off.fd(), POLLIN, 0}};
    for (;;) {
        const int count = poll(watched.data(), watched.size(), milliseconds_until(deadline));
        if (count < 0) continue;  // a signal; nothing else is possible with these two
        if (watched[1].revents != 0) return Waited::called_off;
        return count > 0 ? Waited::ready : Waited::timed_out;
    }
}

int errno_of(Waited waited) {
    return waited == Waited::timed_out ? ETIMEDOUT : ECANCELED;
}

}  // namespace tlsfs::cmd
