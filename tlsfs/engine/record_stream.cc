// SPDX-License-Identifier: MIT
#include "engine/record_stream.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/ktls.h"

namespace tlsfs {
namespace {

using Outcome = Step::Outcome;

constexpr std::size_t kRecord = 16384 + 256 + 5;  // RFC 8446 section 5.2: the largest record
constexpr std::size_t kMaxReceive = 256U << 10U;  // one recv(2)
constexpr std::size_t kWriteChunk = 128U
                                    << 10U;  // encrypted before the next send(2): fits the cache

}  // namespace

RecordStream::RecordStream(Carrier carrier, std::unique_ptr<Tls> tls)
    : carrier_(std::move(carrier)), tls_(std::move(tls)) {}

// Receives ciphertext, about as much as `wanted` bytes of plaintext are made from. False if there
// is nothing to go on with.
bool RecordStream::fill(std::size_t wanted) {
    if (!accepts_input()) return false;
    if (std::exchange(drained_, false) || budget_ == 0) return false;
    ByteQueue& input = tls_->input();
    const std::size_t size =
        exact_ ? tls_->wanted() : std::clamp(wanted + wanted / 512 + kRecord, kRecord, kMaxReceive);
    const auto room = input.prepare(size).first(size);
    const Transfer got = carrier_.read(room);
    switch (got.outcome) {
        case Transfer::Outcome::bytes:
            input.commit(got.count);
            wire_in_ += got.count;
            budget_ -= std::min(budget_, got.count);
            drained_ = got.count < size && !exact_;
            return true;
        case Transfer::Outcome::would_block:
            input.commit(0);
            return false;
        case Transfer::Outcome::failed:
            carrier_error_ = Error{got.error, fmt::format("carrier: {}", std::strerror(got.error))};
            [[fallthrough]];
        case Transfer::Outcome::end_of_file:
            input.commit(0);
            tls_->end_of_input();
            return true;
    }
    return false;
}

// Sends the alert or the answer that a step left behind, and remembers how reading ended.
Step RecordStream::settle(Step step) {
    flush();
    if (step.outcome == Outcome::failed) {
        // OpenSSL sees every broken carrier as an unexpected end.
        if (carrier_error_ && step.error.code == ECONNRESET) step.error = *carrier_error_;
        if (!write_error_) write_error_ = step.error;
    }
    if (step.outcome == Outcome::failed || step.outcome == Outcome::closed) end_of_reading_ = step;
    return step;
}

Result<UniqueFd> RecordStream::hand_over() {
    exact_ = false;
    if (!carrier_.one_fd()) return failure(EOPNOTSUPP, "the carrier is no socket");
    if (unsent() > 0) return failure(EOPNOTSUPP, "the carrier is full");
    if (auto fit = check_ktls_carrier(carrier_.read_fd()); !fit) return tl::unexpected(fit.error());
    if (auto set = tls_->hand_over(carrier_.read_fd()); !set) return tl::unexpected(set.error());
    return carrier_.release();
}

Step RecordStream::handshake() {
    begin_receiving();
    for (;;) {
        Step step = tls_->handshake();
        if (step.outcome != Outcome::want_input) return settle(std::move(step));
        flush();
        if (!fill(0)) return step;
    }
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
        if (step.outcome != Outcome::want_input) {
            settle(step);
            if (filled == 0) return *end_of_reading_;
            break;
        }
        if (!fill(into.size() - filled)) break;
    }
    if (unsent() > 0) flush();  // an answer to the peer's KeyUpdate, perhaps
    data_in_ += filled;
    return filled > 0 ? Step{Outcome::done, filled, {}} : Step{Outcome::want_input, 0, {}};
}

bool RecordStream::readable() {
    begin_receiving();
    while (!end_of_reading_) {
        Step step = tls_->peek();
        if (step.outcome == Outcome::done) return true;
        if (step.outcome != Outcome::want_input) {
            settle(std::move(step));
        } else if (!fill(0)) {
            if (unsent() > 0) flush();
            return false;
        }
    }
    return true;
}

Result<> RecordStream::write(std::span<const std::byte> from) {
    while (!from.empty()) {
        const auto chunk = from.first(std::min(from.size(), kWriteChunk));
        if (!write_error_) {
            if (auto written = tls_->write(chunk); !written) write_error_ = written.error();
            flush();
        }
        if (write_error_) return tl::unexpected(*write_error_);
        data_out_ += chunk.size();
        from = from.subspan(chunk.size());
    }
    return {};
}

Result<std::size_t> RecordStream::write_some(std::span<const std::byte> from) {
    std::size_t taken = 0;
    while (taken < from.size() && writable()) {
        const auto chunk = from.subspan(taken, std::min(from.size() - taken, kWriteChunk));
        if (auto written = write(chunk); !written) {
            if (taken == 0) return tl::unexpected(written.error());
            break;  // the next call reports it
        }
        taken += chunk.size();
    }
    return taken;
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
        const Transfer sent = carrier_.write(output.bytes());
        if (sent.outcome == Transfer::Outcome::would_block) return;
        if (sent.outcome != Transfer::Outcome::bytes) {
            if (!write_error_) {
                // One that takes nothing, and says no more than that, is as good as closed.
                const int code = sent.error != 0 ? sent.error : EPIPE;
                write_error_ = Error{code, fmt::format("carrier: {}", std::strerror(code))};
            }
            output.consume(output.size());
            return;
        }
        wire_out_ += sent.count;
        output.consume(sent.count);
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
