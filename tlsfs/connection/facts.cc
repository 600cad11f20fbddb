// SPDX-License-Identifier: MIT
#include "connection/facts.h"

namespace tlsfs {

Facts::Facts(std::uint32_t its_number, Caller its_owner, Log& log)
    : number(its_number), owner(its_owner), log_(log) {
    fields.owner = owner.uid;
}

void Facts::step(Event event) {
    const State before = state_;
    if (const auto next = next_state(state_, event)) state_ = *next;
    log_state(before);
}

void Facts::fail(const Error& error) {
    log(LogLevel::warning, error.text);
    set_failure(error);
}

void Facts::set_failure(const Error& error) {
    step(Event::fail);
    if (!failure_) failure_ = error;
    fields.error = error.text;
}

void Facts::adopt(const StatusFields& earlier) {
    fields = earlier;
    fields.owner = owner.uid;
    state_ = State::established;
}

}  // namespace tlsfs
