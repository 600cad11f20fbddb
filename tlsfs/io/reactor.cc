// SPDX-License-Identifier: MIT
#include "io/reactor.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <system_error>
#include <utility>

namespace tlsfs {
namespace {

constexpr std::uint64_t kWakeToken = 0;
constexpr std::uint64_t kTimerToken = 1;
constexpr std::chrono::milliseconds kRetry{20};

UniqueFd checked(int fd, const char* what) {
    if (fd < 0) throw std::system_error(errno, std::generic_category(), what);
    return UniqueFd(fd);
}

bool control(int epoll, int operation, int fd, std::uint32_t events, std::uint64_t token) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = token;
    return epoll_ctl(epoll, operation, fd, &event) == 0;
}

void drain(int fd) {
    std::uint64_t count = 0;
    // Nothing to read is fine: another thread was first.
    [[maybe_unused]] const ssize_t got = ::read(fd, &count, sizeof count);
}

}  // namespace

Reactor::Reactor()
    : epoll_(checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      wake_(checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")),
      timer_(checked(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd")) {
    // Edge-triggered: one thread wakes, not all of them.
    if (!control(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), EPOLLIN | EPOLLET, kWakeToken) ||
        !control(epoll_.get(), EPOLL_CTL_ADD, timer_.get(), EPOLLIN | EPOLLET, kTimerToken)) {
        throw std::system_error(errno, std::generic_category(), "epoll_ctl");
    }
}

Reactor::~Reactor() = default;

void Reactor::run() {
    for (;;) {
        {
            const std::scoped_lock guard(lock_);
            if (stopped_) break;
        }
        epoll_event event{};
        const int count = epoll_wait(epoll_.get(), &event, 1, -1);
        if (count == 1) dispatch(event.data.u64);
    }
    stop();  // hand the wake-up on to the next thread
}

void Reactor::stop() {
    const std::scoped_lock guard(lock_);
    stopped_ = true;
    eventfd_write(wake_.get(), 1);
}

void Reactor::dispatch(std::uint64_t token) {
    if (token == kWakeToken) return run_posted();
    if (token == kTimerToken) return run_timers();
    std::shared_ptr<Handler> handler;
    int fd = -1;
    {
        const std::scoped_lock guard(lock_);
        const auto found = watched_.find(token);
        if (found == watched_.end()) return;
        handler = found->second.handler.lock();
        fd = found->second.fd;
    }
    if (handler) handler->ready(fd);
}

void Reactor::post(Task task) {
    const std::scoped_lock guard(lock_);
    posted_.push_back(std::move(task));
    eventfd_write(wake_.get(), 1);
}

void Reactor::run_posted() {
    drain(wake_.get());
    std::vector<Task> tasks;
    {
        const std::scoped_lock guard(lock_);
        tasks.swap(posted_);
    }
    for (Task& task : tasks) task();
}

Reactor::TimerId Reactor::after(std::chrono::milliseconds delay, Task task) {
    const std::scoped_lock guard(lock_);
    const TimerId id = next_id_++;
    const auto deadline = Clock::now() + delay;
    deadlines_.emplace(id, deadline);
    timers_.emplace(std::pair(deadline, id), std::move(task));
    if (deadline < armed_for_) set_timer_locked();
    return id;
}

void Reactor::cancel(TimerId timer) {
    if (timer == 0) return;
    Task unused;  // its captures may hold the last reference to something: destroyed unlocked
    const std::scoped_lock guard(lock_);
    const auto found = deadlines_.find(timer);
    if (found == deadlines_.end()) return;
    unused = std::move(timers_.extract({found->second, timer}).mapped());
    deadlines_.erase(found);
}

void Reactor::run_timers() {
    drain(timer_.get());
    std::vector<Task> due;
    {
        const std::scoped_lock guard(lock_);
        const auto now = Clock::now();
        while (!timers_.empty() && timers_.begin()->first.first <= now) {
            auto first = timers_.extract(timers_.begin());
            deadlines_.erase(first.key().second);
            due.push_back(std::move(first.mapped()));
        }
        set_timer_locked();
    }
    for (Task& task : due) task();
}

// Not set again when a timer is cancelled: most are, and one look in vain is cheaper.
void Reactor::set_timer_locked() {
    using std::chrono::nanoseconds;
    itimerspec when{};
    armed_for_ = timers_.empty() ? Clock::time_point::max() : timers_.begin()->first.first;
    if (!timers_.empty()) {
        // steady_clock is CLOCK_MONOTONIC here; 0 would disarm, hence at least 1 ns.
        const auto at =
            std::max<std::int64_t>(1, nanoseconds(armed_for_.time_since_epoch()).count());
        when.it_value.tv_sec = at / 1'000'000'000;
        when.it_value.tv_nsec = at % 1'000'000'000;
    }
    timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

Reactor::Watch::Watch(Reactor& reactor, int fd, std::weak_ptr<Handler> handler)
    : reactor_(&reactor), fd_(fd) {
    const std::scoped_lock guard(reactor.lock_);
    token_ = reactor.next_id_++;
    reactor.watched_.emplace(token_, Watched{std::move(handler), fd});
}

Reactor::Watch& Reactor::Watch::operator=(Watch&& other) noexcept {
    if (this == &other) return *this;
    reset();
    reactor_ = std::exchange(other.reactor_, nullptr);
    token_ = other.token_;
    fd_ = std::exchange(other.fd_, -1);
    armed_ = std::exchange(other.armed_, 0);
    added_ = std::exchange(other.added_, false);
    return *this;
}

void Reactor::Watch::arm(std::uint32_t events) {
    // Fewer events than before are not worth a system call: the handler finds nothing to do.
    if ((events & ~armed_) == 0 || reactor_ == nullptr) return;
    armed_ = events;
    const int operation = added_ ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (control(reactor_->epoll_.get(), operation, fd_, events | EPOLLONESHOT, token_)) {
        added_ = true;
        return;
    }
    // The user's watches or the kernel's memory are used up: look again and again instead.
    reactor_->after(kRetry, [reactor = reactor_, token = token_] { reactor->dispatch(token); });
}

void Reactor::Watch::reset() {
    if (reactor_ == nullptr) return;
    // The open file description may live on elsewhere, so closing alone would not end the watch.
    if (added_) epoll_ctl(reactor_->epoll_.get(), EPOLL_CTL_DEL, fd_, nullptr);
    const std::scoped_lock guard(reactor_->lock_);
    reactor_->watched_.erase(token_);
    reactor_ = nullptr;
    added_ = false;
    armed_ = 0;
}

}  // namespace tlsfs
