// SPDX-License-Identifier: MIT
#include "io/reactor.h"

#include <doctest/doctest.h>
#include <sys/epoll.h>

#include <atomic>
#include <condition_variable>
#include <latch>
#include <thread>

#include "support/descriptors.h"

using namespace tlsfs;
using std::chrono::milliseconds;

namespace {

// A reactor with threads, stopped at the end of the test.
class Running {
 public:
    explicit Running(int threads) {
        for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { reactor.run(); });
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() {
        reactor.stop();
        for (std::thread& thread : threads_) thread.join();
    }
    Reactor reactor;

 private:
    std::vector<std::thread> threads_;
};

// Reads one byte for every report, and asks for the next.
class Counter final : public Reactor::Handler {
 public:
    explicit Counter(int fd) : fd_(fd) {}
    void ready(int fd) override {
        const std::scoped_lock guard(lock);
        CHECK(fd == fd_);
        watch.fired();
        char byte = 0;
        if (recv(fd_, &byte, 1, MSG_DONTWAIT) == 1) ++count;
        watch.arm(EPOLLIN);
        changed.notify_all();
    }
    void wait_for(int wanted) {
        std::unique_lock held(lock);
        changed.wait(held, [&] { return count >= wanted; });
    }

    std::mutex lock;
    std::condition_variable changed;
    Reactor::Watch watch;
    int count = 0;

 private:
    int fd_;
};

}  // namespace

TEST_CASE("reactor: posted tasks all run, from and on several threads") {
    constexpr int kThreads = 4;
    constexpr int kEach = 500;
    std::latch done(kThreads * kEach);
    Running running(3);
    std::vector<std::thread> posters;
    for (int t = 0; t < kThreads; ++t) {
        posters.emplace_back([&] {
            for (int i = 0; i < kEach; ++i) running.reactor.post([&] { done.count_down(); });
        });
    }
    for (std::thread& poster : posters) poster.join();
    done.wait();
}

TEST_CASE("reactor: a task may post") {
    std::latch done(1);
    Running running(1);
    running.reactor.post([&] { running.reactor.post([&] { done.count_down(); }); });
    done.wait();
}

TEST_CASE("reactor: timers run in the order of their times") {
    std::vector<int> order;
    std::latch done(3);
    Running running(1);  // one thread: the order of running is the order of ending
    running.reactor.post([&] {
        running.reactor.after(milliseconds{30}, [&] {
            order.push_back(3);
            done.count_down();
        });
        running.reactor.after(milliseconds{0}, [&] {
            order.push_back(1);
            done.count_down();
        });
        running.reactor.after(milliseconds{10}, [&] {
            order.push_back(2);
            done.count_down();
        });
    });
    done.wait();
    CHECK(order == std::vector<int>{1, 2, 3});
}

TEST_CASE("reactor: a cancelled timer does not run, and lets its captures go") {
    std::latch done(1);
    std::atomic<bool> ran = false;
    const auto captured = std::make_shared<int>(1);
    Running running(2);
    const auto first = running.reactor.after(milliseconds{20}, [&, captured] { ran = true; });
    running.reactor.cancel(first);
    CHECK(captured.use_count() == 1);
    running.reactor.cancel(first);
    running.reactor.cancel(0);
    running.reactor.after(milliseconds{40}, [&] { done.count_down(); });
    done.wait();
    CHECK_FALSE(ran);
}

// The captures' destructor asks the reactor for something: no lock may be held.
TEST_CASE("reactor: cancel destroys the task without its lock") {
    Reactor reactor;
    const std::shared_ptr<int> guard(new int, [&](int* p) {
        delete p;
        reactor.cancel(12345);
    });
    auto copy = guard;
    const auto timer = reactor.after(std::chrono::hours{1}, [copy = std::move(copy)] {});
    const_cast<std::shared_ptr<int>&>(guard).reset();
    reactor.cancel(timer);
}

TEST_CASE("reactor: each readiness is reported once, whatever the number of threads") {
    constexpr int kBytes = 2000;
    auto [ours, theirs] = test::socket_pair();
    Running running(4);
    const auto counter = std::make_shared<Counter>(ours.get());
    {
        const std::scoped_lock guard(counter->lock);
        counter->watch = Reactor::Watch(running.reactor, ours.get(), counter);
        counter->watch.arm(EPOLLIN);
    }
    for (int i = 0; i < kBytes; ++i) REQUIRE(write(theirs.get(), "x", 1) == 1);
    counter->wait_for(kBytes);
    const std::scoped_lock guard(counter->lock);
    CHECK(counter->count == kBytes);
    counter->watch.reset();
}

TEST_CASE("reactor: what was ready before the watch was armed is reported") {
    auto [ours, theirs] = test::socket_pair();
    REQUIRE(write(theirs.get(), "x", 1) == 1);
    Running running(1);
    const auto counter = std::make_shared<Counter>(ours.get());
    {
        const std::scoped_lock guard(counter->lock);
        counter->watch = Reactor::Watch(running.reactor, ours.get(), counter);
        counter->watch.arm(EPOLLIN);
    }
    counter->wait_for(1);
    const std::scoped_lock guard(counter->lock);
    counter->watch.reset();
}

TEST_CASE("reactor: a watch that was reset reports nothing, though the descriptor lives on") {
    auto [ours, theirs] = test::socket_pair();
    const UniqueFd elsewhere = test::duplicate(ours);
    Running running(2);
    const auto counter = std::make_shared<Counter>(ours.get());
    {
        const std::scoped_lock guard(counter->lock);
        counter->watch = Reactor::Watch(running.reactor, ours.get(), counter);
        counter->watch.arm(EPOLLIN);
        counter->watch.reset();
    }
    ours.reset();
    REQUIRE(write(theirs.get(), "x", 1) == 1);
    std::latch done(1);
    running.reactor.after(milliseconds{20}, [&] { done.count_down(); });
    done.wait();
    const std::scoped_lock guard(counter->lock);
    CHECK(counter->count == 0);
}

TEST_CASE("reactor: a handler that has gone is no concern") {
    auto [ours, theirs] = test::socket_pair();
    Running running(2);
    auto counter = std::make_shared<Counter>(ours.get());
    Reactor::Watch watch(running.reactor, ours.get(), counter);
    watch.arm(EPOLLIN);
    counter.reset();
    REQUIRE(write(theirs.get(), "x", 1) == 1);
    std::latch done(1);
    running.reactor.after(milliseconds{20}, [&] { done.count_down(); });
    done.wait();
}

TEST_CASE("reactor: tasks that never ran are let go with it") {
    const auto captured = std::make_shared<int>(1);
    {
        Reactor reactor;
        reactor.after(std::chrono::hours{1}, [captured] {});
        reactor.post([captured] {});
        reactor.stop();
        reactor.run();  // stopped already: returns
    }
    CHECK(captured.use_count() == 1);
}
