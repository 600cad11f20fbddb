// SPDX-License-Identifier: MIT
// Answers collected under a lock and given after it: declare one before the lock is taken.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "connection/request.h"

namespace tlsfs {

class Answers {
 public:
    Answers() = default;
    Answers(const Answers&) = delete;
    Answers& operator=(const Answers&) = delete;
    ~Answers() {
        for (auto& action : actions_) action();
        for (auto& [request, code] : failures_) request->fail(code);
        for (auto& [request, count] : replies_) request->reply(count);
        for (auto& poller : wakes_) poller->wake();
    }

    void fail(std::unique_ptr<Request> request, int code) {
        failures_.emplace_back(std::move(request), code);
    }
    void reply(std::unique_ptr<WriteRequest> request, std::size_t count) {
        replies_.emplace_back(std::move(request), count);
    }
    // To be done without the lock, before any answer is given.
    void first(std::function<void()> action) { actions_.push_back(std::move(action)); }
    void wake(std::unique_ptr<Poller> poller) { wakes_.push_back(std::move(poller)); }

 private:
    std::vector<std::function<void()>> actions_;
    std::vector<std::pair<std::unique_ptr<Request>, int>> failures_;
    std::vector<std::pair<std::unique_ptr<WriteRequest>, std::size_t>> replies_;
    std::vector<std::unique_ptr<Poller>> wakes_;
};

}  // namespace tlsfs
