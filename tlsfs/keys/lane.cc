// SPDX-License-Identifier: MIT
#include "keys/lane.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace tlsfs::keys {

struct Lane::Queue {
    std::mutex lock;  // guards all below
    std::condition_variable changed;
    std::deque<Task> waiting;
    bool over = false;
};

void Lane::work(const std::shared_ptr<Queue>& queue) {
    for (;;) {
        Task task;
        {
            std::unique_lock guard(queue->lock);
            queue->changed.wait(guard, [&] { return queue->over || !queue->waiting.empty(); });
            if (queue->over) return;
            task = std::move(queue->waiting.front());
            queue->waiting.pop_front();
        }
        task();
    }
}

Lane::~Lane() {
    if (!queue_) return;
    const std::scoped_lock guard(queue_->lock);
    queue_->over = true;
    queue_->waiting.clear();
    queue_->changed.notify_one();
}

bool Lane::run(Task task) {
    if (!queue_) {
        auto queue = std::make_shared<Queue>();
        std::thread([queue] { work(queue); }).detach();
        queue_ = std::move(queue);
    }
    const std::scoped_lock guard(queue_->lock);
    if (queue_->waiting.size() >= kMaxWaiting) return false;
    queue_->waiting.push_back(std::move(task));
    queue_->changed.notify_one();
    return true;
}

}  // namespace tlsfs::keys
