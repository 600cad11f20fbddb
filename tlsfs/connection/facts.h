// SPDX-License-Identifier: MIT
// What is known of a connection: its state, what `status` and `stats` say, why it failed. What
// changes here is logged. Not synchronised: the connection's lock guards it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "connection/request.h"
#include "core/log.h"
#include "core/result.h"
#include "core/state.h"
#include "core/status.h"

namespace tlsfs {

class Facts {
 public:
    Facts(std::uint32_t its_number, Caller its_owner, Log& log);

    const std::uint32_t number;
    const Caller owner;
    StatusFields fields;       // all but the state
    Stats stats;               // of the parts that are gone
    std::string dialled_host;  // until the handshake there is no other name
    bool trial = false;        // `client` and `server` only check what goes before the first record
    int opens = 0;             // open files, and the plain side where that holds the connection

    [[nodiscard]] State state() const { return state_; }
    void step(Event event);
    void fail(const Error& error);  // the first one is remembered, each is logged
    void set_failure(const Error& error);
    // Established before this companion was.
    void adopt(const StatusFields& earlier);

    // What a read or a write answers once there is no channel any more.
    [[nodiscard]] int gone_code() const { return failure_ ? failure_->code : ECONNABORTED; }

    // facts_log.cc. What the log may know: verbs, states and causes; no word of a line.
    void log(LogLevel level, std::string_view what) const;
    void log_refusal(std::string_view verb, const Error& error) const;
    void log_established() const;

 private:
    void log_state(State before) const;

    Log& log_;
    State state_ = State::fresh;
    std::optional<Error> failure_;  // why the state is Error
};

}  // namespace tlsfs
