// SPDX-License-Identifier: MIT
#include "fuse/next_request.h"

#include <poll.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <utility>

namespace tlsfs {
namespace {

using Clock = std::chrono::steady_clock;

// Longer gains nothing, and takes the processor from those who have something to do.
constexpr std::chrono::microseconds kMoment{20};

thread_local bool expected = false;
std::atomic_flag somebody_looks;

}  // namespace

void expect_next_request() {
    expected = true;
}

void look_out_for_request(int device) {
    if (!std::exchange(expected, false) || somebody_looks.test_and_set()) return;
    pollfd entry{device, POLLIN, 0};
    const auto end = Clock::now() + kMoment;
    while (poll(&entry, 1, 0) == 0 && Clock::now() < end) sched_yield();
    somebody_looks.clear();
}

}  // namespace tlsfs
