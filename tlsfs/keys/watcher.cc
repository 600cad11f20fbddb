// SPDX-License-Identifier: MIT
#include "keys/watcher.h"

#include <sys/epoll.h>
#include <sys/inotify.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

namespace tlsfs::keys {
namespace {

// ATTRIB: a file becomes readable. A directory that goes away takes its watch with it.
constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE |
                                  IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF |
                                  IN_ONLYDIR;

}  // namespace

Watcher::Watcher(Reactor& reactor, std::function<void()> changed)
    : reactor_(reactor),
      changed_(std::move(changed)),
      inotify_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    if (!inotify_.valid()) throw std::system_error(errno, std::generic_category(), "inotify");
}

void Watcher::begin() {
    const std::scoped_lock guard(lock_);
    watch_ = Reactor::Watch(reactor_, inotify_.get(), weak_from_this());
    watch_.arm(EPOLLIN);
}

// One that is watched already is added again, because another may have its name by now.
bool Watcher::watch(const std::set<std::string>& directories) {
    const std::scoped_lock guard(lock_);
    std::map<std::string, int> now;
    for (const std::string& directory : directories) {
        const int id = inotify_add_watch(inotify_.get(), directory.c_str(), kEvents);
        if (id >= 0) now.emplace(directory, id);
    }
    std::set<int> used;
    for (const auto& [directory, id] : now) used.insert(id);
    for (const auto& [directory, id] : watched_) {
        if (!used.contains(id)) inotify_rm_watch(inotify_.get(), id);
    }
    const bool more =
        std::ranges::any_of(now, [&](const auto& each) { return !watched_.contains(each.first); });
    watched_ = std::move(now);
    return more;
}

// Which file it was does not matter: all that has changed is found by its stamp.
void Watcher::ready(int) {
    alignas(inotify_event) std::array<char, 4096> events;
    while (read(inotify_.get(), events.data(), events.size()) > 0) {
    }
    changed_();
    const std::scoped_lock guard(lock_);
    watch_.fired();
    watch_.arm(EPOLLIN);
}

}  // namespace tlsfs::keys
