// SPDX-License-Identifier: MIT
// `dial`: a connection attempt in the background, and its time limit.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "connection/events.h"
#include "connection/services.h"

namespace tlsfs {

class Dialling {
 public:
    Dialling(const Services& services, ConnectionEvents& events)
        : services_(services), events_(events) {}
    Dialling(const Dialling&) = delete;
    Dialling& operator=(const Dialling&) = delete;
    ~Dialling() { give_up(); }

    // From here until it is over the connection is kept alive. `identity`: as whom to dial.
    [[nodiscard]] Result<> begin(const command::Dial& target, std::optional<Identity> identity,
                                 std::chrono::milliseconds limit, uid_t user);
    [[nodiscard]] bool under_way() const { return attempt_ != nullptr; }
    // The attempt has come to its end. False: it had been given up.
    [[nodiscard]] bool finish(const std::shared_ptr<Cancellation>& attempt);
    void give_up();
    [[nodiscard]] std::chrono::milliseconds since_begun() const;

 private:
    const Services& services_;
    ConnectionEvents& events_;
    std::shared_ptr<Cancellation> attempt_;
    std::chrono::steady_clock::time_point begun_;
    Reactor::TimerId timer_ = 0;
};

}  // namespace tlsfs
