// SPDX-License-Identifier: MIT
// Threads for what has no nonblocking form: name lookups, and closing descriptors of unknown kind.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>

#include "core/unique_fd.h"

namespace tlsfs {

class Background {
 public:
    using Task = std::function<void()>;

    Background();
    Background(const Background&) = delete;
    Background& operator=(const Background&) = delete;
    ~Background();  // waits for nobody: a DNS lookup cannot be cancelled

    // Makes the first thread, which stays. std::system_error if there can be none; before it,
    // run() needs luck.
    void start();

    // Runs `task` on a thread of its own, or, where the user has their share of the threads or all
    // are taken, when one is free.
    void run(uid_t user, Task task);

    // Closes it. A file of a file system in user space (ours, or somebody's that never answers) can
    // make close(2) wait for ever.
    void close(uid_t user, UniqueFd fd);
    // False while so many of the user's wait to be closed that no more should be taken.
    [[nodiscard]] bool may_close_more(uid_t user);

 private:
    struct State;
    void add_thread();
    std::shared_ptr<State> state_;  // shared with the threads, which may outlive this object
};

}  // namespace tlsfs
