// SPDX-License-Identifier: MIT
#include "io/background.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>

namespace tlsfs {
namespace {
constexpr int kMaxThreads = 256;
constexpr int kShare = 32;                // of one user
constexpr std::chrono::seconds kIdle{5};  // then a thread ends
}  // namespace

struct Background::State {
    struct Waiting {
        uid_t user;
        Task task;
    };

    std::mutex lock;
    std::condition_variable more;
    std::deque<Waiting> waiting;
    std::map<uid_t, int> running;
    int threads = 0;
    int idle = 0;

    // The oldest task whose user has not their share already.
    [[nodiscard]] std::deque<Waiting>::iterator next() {
        return std::ranges::find_if(waiting, [&](const Waiting& w) {
            const auto used = running.find(w.user);
            return used == running.end() || used->second < kShare;
        });
    }

    void work() {
        std::unique_lock held(lock);
        for (;;) {
            ++idle;
            more.wait_for(held, kIdle, [&] { return next() != waiting.end(); });
            --idle;
            const auto chosen = next();
            if (chosen == waiting.end()) break;
            const uid_t user = chosen->user;
            Task task = std::move(chosen->task);
            waiting.erase(chosen);
            ++running[user];
            held.unlock();
            task();
            task = nullptr;
            held.lock();
            if (--running[user] == 0) running.erase(user);
        }
        --threads;
    }
};

Background::Background() : state_(std::make_shared<State>()) {}

void Background::run(uid_t user, Task task) {
    const std::scoped_lock guard(state_->lock);
    state_->waiting.push_back({user, std::move(task)});
    state_->more.notify_one();
    if (state_->idle > 0 || state_->threads == kMaxThreads) return;
    try {
        std::thread([state = state_] { state->work(); }).detach();
        ++state_->threads;
    } catch (const std::system_error&) {  // NOLINT(bugprone-empty-catch)
        // No more threads to be had: one of those there are will come to it, or the next call.
    }
}

void Background::close(uid_t user, UniqueFd fd) {
    run(user, [number = fd.release()] { ::close(number); });
}

}  // namespace tlsfs
