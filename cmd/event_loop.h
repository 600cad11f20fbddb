// SPDX-License-Identifier: MIT
// One thread that waits for many descriptors and deadlines.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "core/unique_fd.h"

namespace tlsfs::cmd {

using Deadline = std::chrono::steady_clock::time_point;

// What something waits for: a descriptor, a deadline, or whichever comes first.
struct Wants {
    int fd = -1;
    std::uint32_t events = 0;  // EPOLLIN, EPOLLOUT
    std::optional<Deadline> until;
};

class EventLoop {
 public:
    // Called when what it wants has come. Handlers may be destroyed by a call of another.
    class Handler {
     public:
        virtual void ready() = 0;

     protected:
        ~Handler() = default;
    };

    // What one handler wants. The descriptor must be open until it is replaced or cleared: a
    // duplicate in another process would keep it registered.
    class Interest {
     public:
        Interest(EventLoop& loop, Handler& handler) : loop_(loop), id_(loop.add(handler)) {}
        Interest(const Interest&) = delete;
        Interest& operator=(const Interest&) = delete;
        ~Interest();

        void set(const Wants& wants);  // throws std::system_error
        void clear();

     private:
        EventLoop& loop_;
        std::uint64_t id_;
        Wants wants_;
    };

    EventLoop();  // throws std::system_error

    // Readable when a descriptor is ready that somebody wants.
    [[nodiscard]] int fd() const { return epoll_.get(); }
    [[nodiscard]] std::optional<Deadline> next_deadline() const;

    // Calls those who have what they want. Does not wait.
    void dispatch();

 private:
    [[nodiscard]] std::uint64_t add(Handler& handler);
    void call(std::uint64_t id);

    UniqueFd epoll_;
    std::map<std::uint64_t, Handler*> handlers_;
    std::set<std::pair<Deadline, std::uint64_t>> deadlines_;
    std::uint64_t last_id_ = 0;
};

}  // namespace tlsfs::cmd
