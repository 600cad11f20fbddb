// SPDX-License-Identifier: MIT
// Waiting for a descriptor, in a thread that another one may call off.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "core/unique_fd.h"

namespace tlsfs::cmd {

// Something that has happened, as one thread tells others who sit in poll(2).
class Event {
 public:
    Event();  // throws std::system_error where there is no descriptor left

    [[nodiscard]] int fd() const { return fd_.get(); }
    void set() const;
    void clear() const;

 private:
    UniqueFd fd_;
};

enum class Waited : std::uint8_t { ready, timed_out, called_off };

using Deadline = std::chrono::steady_clock::time_point;

// Until `fd` has one of `events` or an error, or `call_off` is set, or the deadline has passed.
[[nodiscard]] Waited wait_for(int fd, short events, const Event& call_off,
                              std::optional<Deadline> deadline = std::nullopt);

// ETIMEDOUT or ECANCELED, for what did not become ready.
[[nodiscard]] int errno_of(Waited waited);

}  // namespace tlsfs::cmd
