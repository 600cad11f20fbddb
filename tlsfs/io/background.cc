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

#include "core/bounds.h"

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
    std::map<uid_t, std::size_t> closing;  // descriptors
    int threads = 0;
    int idle = 0;  // among them those that have been woken and not come yet
    bool over = false;

    [[nodiscard]] bool has_share(uid_t user) const {
        const auto used = running.find(user);
        return used == running.end() || used->second < kShare;
    }

    // The oldest task whose user has not their share already.
    [[nodiscard]] std::deque<Waiting>::iterator next() {
        return std::ranges::find_if(waiting, [&](const Waiting& w) { return has_share(w.user); });
    }

    // Is there work that no idle thread is going to take?
    [[nodiscard]] bool needs_thread() const {
        const auto ready =
            std::ranges::count_if(waiting, [&](const Waiting& w) { return has_share(w.user); });
        return ready > idle && threads < kMaxThreads;
    }

    // The last thread stays: another one may not be possible when it is needed.
    [[nodiscard]] bool is_surplus() const { return over || threads > 1; }

    void work() {
        std::unique_lock held(lock);
        for (;;) {
            ++idle;
            more.wait_for(held, kIdle, [&] { return next() != waiting.end(); });
            --idle;
            const auto chosen = next();
            if (chosen == waiting.end()) {
                if (is_surplus()) break;
                continue;
            }
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

// Nobody is woken: a thread that has used OpenSSL must not end while the process does, whose
// exit handlers free what the thread's own would use.
Background::~Background() {
    const std::scoped_lock guard(state_->lock);
    state_->over = true;
}

// Needs the lock of the state.
void Background::add_thread() {
    std::thread([state = state_] { state->work(); }).detach();
    ++state_->threads;
}

void Background::start() {
    const std::scoped_lock guard(state_->lock);
    if (state_->threads == 0) add_thread();
}

void Background::run(uid_t user, Task task) {
    const std::scoped_lock guard(state_->lock);
    state_->waiting.push_back({user, std::move(task)});
    state_->more.notify_one();
    if (!state_->needs_thread()) return;
    try {
        add_thread();
    } catch (const std::system_error&) {  // NOLINT(bugprone-empty-catch)
        // An existing thread will run it.
    }
}

void Background::close(uid_t user, UniqueFd fd) {
    {
        const std::scoped_lock guard(state_->lock);
        ++state_->closing[user];
    }
    run(user, [state = state_.get(), user, number = fd.release()] {
        ::close(number);
        const std::scoped_lock guard(state->lock);
        if (--state->closing[user] == 0) state->closing.erase(user);
    });
}

bool Background::may_close_more(uid_t user) {
    const std::scoped_lock guard(state_->lock);
    const auto known = state_->closing.find(user);
    return known == state_->closing.end() || known->second < bounds::kClosing;
}

}  // namespace tlsfs
