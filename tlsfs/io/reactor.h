// SPDX-License-Identifier: MIT
// Waiting, for everybody: descriptors, timers and posted tasks over one epoll(7). Any number of
// threads may run() it side by side; each watch is one-shot, so no event is handled twice.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/unique_fd.h"

namespace tlsfs {

class Reactor {
 public:
    using Task = std::function<void()>;
    using Clock = std::chrono::steady_clock;
    using TimerId = std::uint64_t;  // 0 is none

    class Handler {
     public:
        Handler() = default;
        Handler(const Handler&) = delete;
        Handler& operator=(const Handler&) = delete;
        virtual ~Handler() = default;
        // A watched descriptor is ready. The watch that fired is disarmed.
        virtual void ready(int fd) = 0;
    };

    Reactor();  // throws std::system_error: without epoll there is nothing to go on with
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;
    ~Reactor();

    // Readable while there is something for run() to do.
    [[nodiscard]] int fd() const { return epoll_.get(); }

    void run();   // until stop()
    void stop();  // from any thread

    // Runs `task` soon on one of the reactor's threads, with no lock of the caller's held.
    void post(Task task);
    TimerId after(std::chrono::milliseconds delay, Task task);
    void cancel(TimerId timer);

    // One descriptor under watch. It must outlive the watch; the watch must not outlive the
    // reactor.
    class Watch {
     public:
        Watch() = default;
        Watch(Reactor& reactor, int fd, std::weak_ptr<Handler> handler);
        Watch(Watch&& other) noexcept { *this = std::move(other); }
        Watch& operator=(Watch&& other) noexcept;
        Watch(const Watch&) = delete;
        Watch& operator=(const Watch&) = delete;
        ~Watch() { reset(); }

        // Reports once as soon as one of `events` (EPOLLIN, EPOLLOUT) is there.
        void arm(std::uint32_t events);
        // To be called when the handler was told: the kernel has disarmed it.
        void fired() { armed_ = 0; }
        [[nodiscard]] int fd() const { return fd_; }
        void reset();

     private:
        Reactor* reactor_ = nullptr;
        std::uint64_t token_ = 0;
        int fd_ = -1;
        std::uint32_t armed_ = 0;
        bool added_ = false;
    };

 private:
    struct Watched {
        std::weak_ptr<Handler> handler;
        int fd;
    };

    void dispatch(std::uint64_t token);
    void run_posted();
    void run_timers();
    void set_timer_locked();

    UniqueFd epoll_, wake_, timer_;

    std::mutex lock_;  // guards all below; never held while a handler or a task runs
    std::uint64_t next_id_ = 16;
    std::unordered_map<std::uint64_t, Watched> watched_;
    std::map<std::pair<Clock::time_point, TimerId>, Task> timers_;
    std::unordered_map<TimerId, Clock::time_point> deadlines_;  // of the same timers
    Clock::time_point armed_for_ = Clock::time_point::max();    // what timer_ is set to
    std::vector<Task> posted_;
    bool stopped_ = false;
};

}  // namespace tlsfs
