// SPDX-License-Identifier: MIT
#include "io/background.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <future>

#include "core/bounds.h"
#include "support/descriptors.h"

using namespace tlsfs;
using namespace tlsfs::test;

namespace {
constexpr std::chrono::seconds kPatience{30};
constexpr uid_t kOne = 1000, kOther = 1001;
}  // namespace

// The second of two must not stand behind the first, which may be another user's and never end.
TEST_CASE("background: two tasks at once have two threads, also where one thread is idle") {
    for (int round = 0; round < 10; ++round) {
        Background background;
        std::promise<void> warm, release, ran;
        background.run(kOne, [&] { warm.set_value(); });  // makes the one thread there is
        warm.get_future().wait();
        std::this_thread::sleep_for(std::chrono::milliseconds{20});  // its thread is idle again
        const auto gate = release.get_future().share();
        background.run(kOne, [gate] { gate.wait(); });
        background.run(kOther, [&] { ran.set_value(); });
        const bool came = ran.get_future().wait_for(kPatience) == std::future_status::ready;
        release.set_value();
        CHECK(came);
    }
}

TEST_CASE("background: who has their share waits, and nobody else does") {
    Background background;
    std::promise<void> release;
    const auto gate = release.get_future().share();
    std::atomic<int> running = 0;
    for (int i = 0; i < 40; ++i) {
        background.run(kOne, [&, gate] {
            ++running;
            gate.wait();
        });
    }
    std::promise<void> ran;
    background.run(kOther, [&] { ran.set_value(); });
    CHECK(ran.get_future().wait_for(kPatience) == std::future_status::ready);
    CHECK(running <= 32);
    release.set_value();
    std::promise<void> last;
    background.run(kOne, [&] { last.set_value(); });
    CHECK(last.get_future().wait_for(kPatience) == std::future_status::ready);
    while (running < 40) std::this_thread::yield();
}

TEST_CASE("background: descriptors that cannot be closed are counted, for each user") {
    // Nothing of ours can make close(2) wait, so all threads of the user are kept busy.
    Background background;
    std::promise<void> release;
    const auto gate = release.get_future().share();
    for (int i = 0; i < 32; ++i) background.run(kOne, [gate] { gate.wait(); });
    for (std::size_t i = 0; i < bounds::kClosing; ++i) {
        CHECK(background.may_close_more(kOne));
        background.close(kOne, std::move(pipe_pair().a));
    }
    CHECK_FALSE(background.may_close_more(kOne));
    CHECK(background.may_close_more(kOther));
    release.set_value();
    while (!background.may_close_more(kOne)) std::this_thread::yield();
}
