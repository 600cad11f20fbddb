// SPDX-License-Identifier: MIT
// Connects to the first target that answers, without waiting.
//
// Each address of each target has its time limit. Names are looked up anew each time. A target that
// does not answer is said, and the next one tried.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/result.h"
#include "event_loop.h"
#include "name_lookup.h"
#include "targets.h"

namespace tlsfs::cmd {

class Connecting {
 public:
    explicit Connecting(Targets& targets);

    // Goes on as far as it can. Nothing when a target is connected; else what it waits for. An
    // error, the last target's, if none is left. To be called again when that has come.
    [[nodiscard]] Result<std::optional<Wants>> go();

    [[nodiscard]] const Target& target() const { return **target_; }
    [[nodiscard]] UniqueFd take_socket() { return std::move(socket_fd_); }

 private:
    enum class State : std::uint8_t {
        target,    // a target is to be begun
        lookup,    // its name is being looked up
        address,   // an address is to be begun
        retry,     // the queue of a Unix socket was full
        progress,  // connect(2) goes on
        connected,
    };
    struct Entry {
        State state;
        Result<> (Connecting::*go)();
    };
    static const std::array<Entry, 5> kEntries;

    [[nodiscard]] Result<> step();
    [[nodiscard]] Result<> begin_target();
    [[nodiscard]] Result<> end_lookup();
    [[nodiscard]] Result<> begin_address();
    [[nodiscard]] Result<> begin_connect();
    [[nodiscard]] Result<> end_connect();
    [[nodiscard]] Result<> next_after(const Error& why);
    void wait_for(State state, Wants wants);
    [[nodiscard]] bool is_late() const;

    std::chrono::milliseconds limit_;
    std::vector<const Target*> order_;
    std::vector<const Target*>::const_iterator target_;
    State state_ = State::target;
    std::optional<Wants> wants_;
    std::optional<NameLookup> lookup_;
    Addresses addresses_;  // of the target, those that are still to be tried
    UniqueFd socket_fd_;
    Deadline deadline_{};
};

}  // namespace tlsfs::cmd
