// SPDX-License-Identifier: MIT
// Says when something changes in a set of directories: inotify(7).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "core/unique_fd.h"
#include "io/reactor.h"

namespace tlsfs::keys {

class Watcher final : public Reactor::Handler, public std::enable_shared_from_this<Watcher> {
 public:
    Watcher(Reactor& reactor, std::function<void()> changed);  // throws std::system_error
    void begin();

    // These, and no others. A directory that is not there is tried again by the next call.
    // True: one of them was not watched before, and may have changed meanwhile.
    [[nodiscard]] bool watch(const std::set<std::string>& directories);
    void ready(int fd) override;

 private:
    Reactor& reactor_;
    const std::function<void()> changed_;
    const UniqueFd inotify_;

    std::mutex lock_;  // guards all below
    std::map<std::string, int> watched_;
    Reactor::Watch watch_;
};

}  // namespace tlsfs::keys
