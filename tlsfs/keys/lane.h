// SPDX-License-Identifier: MIT
// A thread for one slow key, and those who wait for it. A token that hangs keeps its own thread,
// and nobody else.
#pragma once

#include <functional>
#include <memory>

namespace tlsfs::keys {

class Lane {
 public:
    using Task = std::function<void()>;
    static constexpr std::size_t kMaxWaiting = 64;

    Lane() = default;
    Lane(const Lane&) = delete;
    Lane& operator=(const Lane&) = delete;
    // Does not wait for a task that runs; those behind it are dropped.
    ~Lane();

    // False: there are too many already. Starts the thread when it is first needed; throws
    // std::system_error if there can be none.
    [[nodiscard]] bool run(Task task);

 private:
    struct Queue;
    static void work(const std::shared_ptr<Queue>& queue);
    std::shared_ptr<Queue> queue_;
};

}  // namespace tlsfs::keys
