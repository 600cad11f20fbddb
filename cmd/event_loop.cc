// SPDX-License-Identifier: MIT
#include "event_loop.h"

#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <vector>

namespace tlsfs::cmd {
namespace {

constexpr int kBatch = 64;

}  // namespace

EventLoop::EventLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_.valid()) throw std::system_error(errno, std::generic_category(), "epoll");
}

std::uint64_t EventLoop::add(Handler& handler) {
    handlers_.emplace(++last_id_, &handler);
    return last_id_;
}

std::optional<Deadline> EventLoop::next_deadline() const {
    if (deadlines_.empty()) return std::nullopt;
    return deadlines_.begin()->first;
}

void EventLoop::dispatch() {
    std::array<epoll_event, kBatch> events{};
    const int count = epoll_wait(epoll_.get(), events.data(), kBatch, 0);
    for (int i = 0; i < count; ++i) call(events.at(static_cast<std::size_t>(i)).data.u64);

    // Collected first: a handler that is called sets its next deadline.
    std::vector<std::uint64_t> due;
    const auto now = std::chrono::steady_clock::now();
    for (const auto& [deadline, id] : deadlines_) {
        if (deadline > now) break;
        due.push_back(id);
    }
    for (const std::uint64_t id : due) call(id);
}

// An event may be older than the end of its handler.
void EventLoop::call(std::uint64_t id) {
    const auto found = handlers_.find(id);
    if (found != handlers_.end()) found->second->ready();
}

EventLoop::Interest::~Interest() {
    clear();
    loop_.handlers_.erase(id_);
}

void EventLoop::Interest::set(const Wants& wants) {
    clear();
    if (wants.fd >= 0) {
        epoll_event event{};
        event.events = wants.events;
        event.data.u64 = id_;
        if (epoll_ctl(loop_.fd(), EPOLL_CTL_ADD, wants.fd, &event) != 0) {
            throw std::system_error(errno, std::generic_category(), "epoll");
        }
    }
    wants_ = wants;
    if (wants.until) loop_.deadlines_.emplace(*wants.until, id_);
}

void EventLoop::Interest::clear() {
    if (wants_.fd >= 0) epoll_ctl(loop_.fd(), EPOLL_CTL_DEL, wants_.fd, nullptr);
    if (wants_.until) loop_.deadlines_.erase({*wants_.until, id_});
    wants_ = {};
}

}  // namespace tlsfs::cmd
