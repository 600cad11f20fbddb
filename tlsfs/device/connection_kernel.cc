// SPDX-License-Identifier: MIT
// A connection whose bytes the kernel carries: the hand-over, and what is known of it afterwards.
#include <fmt/format.h>

#include "device/connection.h"
#include "engine/alert.h"

namespace tlsfs {
namespace {

Error kernel_error(const KernelStatus& now) {
    switch (now.read_error) {
        case EKEYEXPIRED:
            return {EKEYEXPIRED,
                    "read: the peer changed its keys, which this kernel cannot follow: say engine "
                    "user"};
        case EBADMSG:
            return {EBADMSG, "read: a record failed authentication"};
        case ECONNRESET:
            return {ECONNRESET, "read: the carrier ended without close_notify"};
        case EPROTO:
            if (!now.alert_in) break;
            return {EPROTO, fmt::format("read: the peer sent alert {} ({})",
                                        alert_name(*now.alert_in), *now.alert_in)};
        default:
            break;
    }
    return {now.read_error, fmt::format("read: {}", std::strerror(now.read_error))};
}

}  // namespace

bool Connection::data_is_ours() {
    const std::scoped_lock guard(lock_);
    return kernel_ == nullptr || left_to_us_;
}

// The handshake is over: whose are the records from now on?
Result<> Connection::choose_engine() {
    if (!kernel_) return {};
    const auto stay = [&]() -> Result<> {
        stream_->stay();
        kernel_->left_to_us();
        left_to_us_ = true;
        return {};
    };
    if (settings_.engine == EngineChoice::user) return stay();
    if (given_plain_.valid()) {
        if (settings_.engine == EngineChoice::automatic) return stay();
        return failure(EOPNOTSUPP,
                       "engine kernel: plain was said, and its data is a file of the kernel's");
    }
    auto socket = stream_->hand_over();
    if (!socket) {
        const bool possible = socket.error().code == EOPNOTSUPP;
        if (possible && settings_.engine == EngineChoice::automatic) return stay();
        return failure(socket.error().code, "engine kernel: " + socket.error().text);
    }
    read_watch_.reset();
    if (auto carried = kernel_->carry(*socket); !carried) return carried;
    in_kernel_ = true;
    facts_.engine = "kernel";
    handed_over_ = std::move(stream_);
    return {};
}

void Connection::adopt(const StatusFields& facts) {
    const std::scoped_lock guard(lock_);
    facts_ = facts;
    facts_.owner = owner_.uid;
    state_ = State::established;
    in_kernel_ = true;
}

void Connection::absorb(std::string_view messages) {
    const std::scoped_lock guard(lock_);
    if (handed_over_) handed_over_->absorb(messages);
}

// The kernel does not tell when a connection ends; it is asked when somebody wants to know.
void Connection::refresh() {
    if (relay_) refresh_from_relay();
    if (!in_kernel_) return;
    const auto now = kernel_->look();
    if (!now) return;
    const bool open_for_writing = state_ == State::established || state_ == State::remote_closed;
    if (now->write_over && now->read_error == 0 && open_for_writing) step(Event::local_close);
    if (!now->read_over) return;
    if (now->read_error != 0) {
        if (state_ != State::error) fail(kernel_error(*now));
    } else {
        step(Event::remote_close);
    }
}

void Connection::add_kernel_stats(Stats& stats) const {
    if (!in_kernel_) return;
    if (handed_over_) handed_over_->add_stats(stats);
    const auto now = kernel_->look();
    if (!now) return;
    stats.data_in = now->data_in;
    stats.data_out = now->data_out;
    stats.records_in += now->records_in;
    stats.records_out += now->records_out;
    if (now->wire_in > 0) stats.wire_in = now->wire_in;
    if (now->wire_out > 0) stats.wire_out = now->wire_out;
}

}  // namespace tlsfs
