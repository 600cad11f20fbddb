// SPDX-License-Identifier: MIT
#include "connection/kernel_channel.h"

#include <fmt/format.h>

#include <cstring>

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
            return {ECONNRESET, "read: the transport ended without close_notify"};
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

void KernelChannel::absorb(std::string_view messages) {
    if (handed_over_) handed_over_->absorb(messages);
}

std::optional<ChannelState> KernelChannel::look() const {
    const auto now = kernel_.look();
    if (!now) return std::nullopt;
    ChannelState state;
    state.read_over = now->read_over;
    state.write_over = now->write_over;
    if (now->read_over && now->read_error != 0) state.failure = kernel_error(*now);
    return state;
}

void KernelChannel::add_stats(Stats& stats) const {
    if (handed_over_) handed_over_->add_stats(stats);
    const auto now = kernel_.look();
    if (!now) return;
    stats.data_in = now->data_in;
    stats.data_out = now->data_out;
    stats.records_in += now->records_in;
    stats.records_out += now->records_out;
    if (now->wire_in > 0) stats.wire_in = now->wire_in;
    if (now->wire_out > 0) stats.wire_out = now->wire_out;
}

Result<std::string> KernelChannel::peer_chain() const {
    if (!handed_over_) return failure(ENODATA, "an earlier companion had it");
    return handed_over_->peer_chain();
}

Result<> KernelChannel::update_keys() {
    return failure(EOPNOTSUPP, "keyupdate: the kernel cannot: say engine user");
}

Result<> KernelChannel::close(Answers&) {
    return kernel_.end_writing();
}

Result<> KernelChannel::hangup(Answers&) {
    if (auto ended = kernel_.end(); !ended) return ended;
    handed_over_.reset();
    return {};
}

}  // namespace tlsfs
