// SPDX-License-Identifier: MIT
// What is known of an endpoint, and how it ends.
#include "connection/endpoint.h"

#include <utility>

#include "connection/kernel_channel.h"

namespace tlsfs {

Endpoint::Endpoint(const Services& services, ConnectionEvents& events, std::uint32_t number,
                   Caller owner, Settings first, std::unique_ptr<KernelEnd> kernel)
    : services_(services),
      events_(events),
      facts_(number, owner, services.log),
      kernel_(std::move(kernel)),
      setup_(std::make_unique<Setup>(services, events, facts_, std::move(first))) {}

void Endpoint::adopt(const StatusFields& earlier) {
    facts_.adopt(earlier);
    setup_.reset();
    channel_ = std::make_unique<KernelChannel>(*kernel_, nullptr);
}

void Endpoint::absorb(std::string_view messages) {
    if (in_kernel()) static_cast<KernelChannel&>(*channel_).absorb(messages);
}

Result<> Endpoint::hangup(Answers& answers) {
    if (kernel_ && !in_kernel()) kernel_->failed(ECONNABORTED);
    if (channel_) {
        if (auto ended = channel_->hangup(answers); !ended) return ended;
    }
    facts_.step(Event::hangup);
    setup_.reset();
    return {};
}

void Endpoint::release(Answers& answers) {
    refresh();  // the last chance to say that it had failed
    facts_.step(Event::hangup);
    if (channel_) channel_->release(answers);
    setup_.reset();
}

void Endpoint::abandon(const Error& error, Answers& answers) {
    facts_.set_failure(error);  // no fault of the connection's
    if (kernel_) kernel_->failed(error.code);
    if (user() != nullptr) user()->abandon(error, answers);
    setup_.reset();
}

void Endpoint::refresh() {
    const auto now = channel_ ? channel_->look() : std::nullopt;
    if (!now || state() == State::error) return;
    if (state() == State::closed && !in_kernel()) return;
    if (now->failure) return facts_.fail(*now->failure);
    if (now->write_over) facts_.step(Event::local_close);
    if (now->read_over) facts_.step(Event::remote_close);
    if (now->over && !now->why_over.empty()) facts_.fields.error = now->why_over;
    if (now->over) facts_.step(Event::hangup);
}

std::string Endpoint::status() {
    refresh();
    StatusFields fields = facts_.fields;
    fields.state = state();
    if (setup_ && setup_->has_transport() && fields.remote.empty()) {
        fields.local = setup_->transport().local();
        fields.remote = setup_->transport().remote();
    }
    return status_text(fields);
}

std::string Endpoint::stats() const {
    Stats all = facts_.stats;
    if (setup_ && setup_->handshake() != nullptr) setup_->handshake()->stream().add_stats(all);
    if (channel_) channel_->add_stats(all);
    return stats_text(all);
}

Result<std::string> Endpoint::peer() const {
    if (!channel_) return failure(ENOTCONN, "no handshake yet");
    return channel_->peer_chain();
}

}  // namespace tlsfs
