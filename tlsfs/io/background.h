// SPDX-License-Identifier: MIT
// Threads for what has no nonblocking form: name lookups, and closing descriptors of unknown kind.
#pragma once

#include <functional>
#include <memory>

namespace tlsfs {

class Background {
 public:
    using Task = std::function<void()>;

    Background();
    Background(const Background&) = delete;
    Background& operator=(const Background&) = delete;
    ~Background() = default;  // waits for nobody: a name lookup cannot be broken off

    // Runs `task` on a thread of its own, or, past 64 of them, when one is free.
    void run(Task task);

 private:
    struct State;
    std::shared_ptr<State> state_;  // shared with the threads, which may outlive this object
};

}  // namespace tlsfs
