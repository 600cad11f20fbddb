// SPDX-License-Identifier: MIT
#include "engine/record_stream.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/ktls.h"

namespace tlsfs {
namespace {

using Outcome = Step::Outcome;

// Bytes that are sent together: TCP is told that more will come until they are complete.
constexpr std::size_t kWriteChunk = 128U << 10U;
constexpr std::size_t kRecord = 16U << 10U;  // RFC 8446 section 5.1

}  // namespace

RecordStream::RecordStream(ByteStream transport, std::unique_ptr<Tls> tls)
    : transport_(std::move(transport)), tls_(std::move(tls)) {
    tls_->use(this);
}

std::optional<std::size_t> RecordStream::receive(std::span<std::byte> into) {
    if (!accepts_input() || drained_ || budget_ == 0) return std::nullopt;
    const Transfer got = transport_.read(into);
    switch (got.outcome) {
        case Transfer::Outcome::bytes:
            wire_in_ += got.count;
            budget_ -= std::min(budget_, got.count);
            drained_ = got.count < into.size();
            return got.count;
        case Transfer::Outcome::would_block:
            return std::nullopt;
        case Transfer::Outcome::failed:
            transport_error_ =
                Error{got.error, fmt::format("transport: {}", std::strerror(got.error))};
            return 0;
        case Transfer::Outcome::end_of_file:
            return 0;
    }
    return std::nullopt;
}

// What is no data, a handshake's flight above all, is collected: flush() sends it in one piece.
std::size_t RecordStream::send(std::span<const std::byte> record) {
    if (records_to_come_ == 0) return 0;
    const bool more = --records_to_come_ > 0;
    return send_some(record, more).value_or(record.size());
}

// How many bytes the transport took. Nothing: it takes none any more, and they are lost.
std::optional<std::size_t> RecordStream::send_some(std::span<const std::byte> bytes, bool more) {
    const Transfer sent = transport_.write(bytes, more);
    if (sent.outcome == Transfer::Outcome::would_block) return 0;
    if (sent.outcome == Transfer::Outcome::bytes) {
        wire_out_ += sent.count;
        return sent.count;
    }
    if (!write_error_) {
        // One that takes nothing, and says no more than that, is as good as closed.
        const int code = sent.error != 0 ? sent.error : EPIPE;
        write_error_ = Error{code, fmt::format("transport: {}", std::strerror(code))};
    }
    return std::nullopt;
}

// Sends the alert or the answer that a step left behind, and remembers how reading ended.
Step RecordStream::settle(Step step) {
    flush();
    if (step.outcome == Outcome::failed) {
        // OpenSSL sees every broken transport as an unexpected end.
        if (transport_error_ && step.error.code == ECONNRESET) step.error = *transport_error_;
        if (!write_error_) write_error_ = step.error;
    }
    if (step.outcome == Outcome::failed || step.outcome == Outcome::closed) end_of_reading_ = step;
    return step;
}

Result<UniqueFd> RecordStream::hand_over() {
    if (!transport_.one_fd()) return failure(EOPNOTSUPP, "the transport is no socket");
    if (unsent() > 0) return failure(EOPNOTSUPP, "the transport is full");
    if (auto fit = check_ktls_transport(transport_.read_fd()); !fit)
        return tl::unexpected(fit.error());
    if (auto set = tls_->hand_over(transport_.read_fd()); !set) return tl::unexpected(set.error());
    tls_->use(nullptr);
    return transport_.release();
}

Step RecordStream::handshake() {
    begin_receiving();
    return settle(tls_->handshake());
}

Step RecordStream::read(std::span<std::byte> into) {
    if (end_of_reading_) return *end_of_reading_;
    std::size_t filled = 0;
    begin_receiving();
    while (filled < into.size()) {
        Step step = tls_->read(into.subspan(filled));
        if (step.outcome == Outcome::done) {
            filled += step.count;
            budget_ = kBudget;
            continue;
        }
        if (step.outcome == Outcome::want_input) break;
        settle(step);
        if (filled == 0) return *end_of_reading_;
        break;
    }
    if (unsent() > 0) flush();  // an answer to the peer's KeyUpdate, perhaps
    data_in_ += filled;
    return filled > 0 ? Step{Outcome::done, filled, {}} : Step{Outcome::want_input, 0, {}};
}

Result<> RecordStream::write(std::span<const std::byte> from) {
    while (!from.empty()) {
        const auto chunk = from.first(std::min(from.size(), kWriteChunk));
        if (!write_error_) {
            records_to_come_ = (chunk.size() + kRecord - 1) / kRecord;
            if (auto written = tls_->write(chunk); !written) write_error_ = written.error();
            records_to_come_ = 0;
            flush();
        }
        if (write_error_) return tl::unexpected(*write_error_);
        data_out_ += chunk.size();
        from = from.subspan(chunk.size());
    }
    return {};
}

RecordStream::Remains RecordStream::detach() {
    tls_->use(nullptr);
    return {std::move(transport_), std::move(tls_->output())};
}

Result<> RecordStream::update_keys() {
    if (!accepts_input()) return failure(EBUSY, "keyupdate: too much waits to be sent already");
    auto updated = tls_->update_keys();
    flush();
    return updated;
}

void RecordStream::close() {
    tls_->close();
    flush();
}

void RecordStream::flush() {
    ByteQueue& output = tls_->output();
    while (!output.empty()) {
        const auto sent = send_some(output.bytes(), false);
        if (sent && *sent == 0) return;
        output.consume(sent.value_or(output.size()));
    }
}

void RecordStream::add_stats(Stats& stats) const {
    stats.data_in += data_in_;
    stats.data_out += data_out_;
    stats.wire_in += wire_in_;
    stats.wire_out += wire_out_;
    stats.records_in += tls_->records_in();
    stats.records_out += tls_->records_out();
    stats.key_updates += tls_->key_updates();
}

}  // namespace tlsfs
