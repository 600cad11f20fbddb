// SPDX-License-Identifier: MIT
#include "io/background.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace tlsfs {
namespace {
constexpr int kMaxThreads = 64;
constexpr std::chrono::seconds kIdle{5};  // then a thread ends
}  // namespace

struct Background::State {
    std::mutex lock;
    std::condition_variable more;
    std::deque<Task> tasks;
    int threads = 0;
    int idle = 0;
};

Background::Background() : state_(std::make_shared<State>()) {}

void Background::run(Task task) {
    const std::scoped_lock guard(state_->lock);
    state_->tasks.push_back(std::move(task));
    if (static_cast<int>(state_->tasks.size()) <= state_->idle || state_->threads == kMaxThreads) {
        state_->more.notify_one();
        return;
    }
    ++state_->threads;
    std::thread([state = state_] {
        std::unique_lock held(state->lock);
        for (;;) {
            ++state->idle;
            state->more.wait_for(held, kIdle, [&] { return !state->tasks.empty(); });
            --state->idle;
            if (state->tasks.empty()) break;
            Task next = std::move(state->tasks.front());
            state->tasks.pop_front();
            held.unlock();
            next();
            next = nullptr;
            held.lock();
        }
        --state->threads;
    }).detach();
}

}  // namespace tlsfs
