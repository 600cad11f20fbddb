// SPDX-License-Identifier: MIT
// The engine "user": TLS records over a transport, made and read in this process. Every call
// returns at once. Not synchronised: the connection that owns it holds its lock.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "core/bounds.h"
#include "core/result.h"
#include "core/status.h"
#include "engine/tls.h"
#include "io/byte_stream.h"

namespace tlsfs {

class RecordStream final : private Tls::Wire {
 public:
    RecordStream(ByteStream transport, std::unique_ptr<Tls> tls);

    // Nothing beyond the handshake is received until either is said, so that hand_over() is
    // possible where its secrets are kept.
    void keep_secrets() { tls_->keep_secrets(); }
    void stay() { tls_->read_ahead(); }
    // The socket with the kernel's TLS on it; this object then only absorbs tickets and answers
    // peer_chain(). EOPNOTSUPP: it cannot be, and all goes on here.
    [[nodiscard]] Result<UniqueFd> hand_over();
    void absorb(std::string_view messages) { tls_->absorb(messages); }

    // There will be no handshake any more: what is left is to send, if anything.
    void give_up() { tls_->forget_key(); }
    // Gives the transport up, with what is still to be sent there. peer_chain() and the counts
    // stay.
    struct Remains {
        ByteStream transport;
        ByteQueue unsent;
    };
    [[nodiscard]] Remains detach();

    // done: the handshake is over; want_input: call again when the transport is ready.
    [[nodiscard]] Step handshake();

    // done: `count` > 0 bytes, as soon as there are any. closed and failed are answered for ever.
    [[nodiscard]] Step read(std::span<std::byte> into);

    [[nodiscard]] bool writable() const { return unsent() <= bounds::kUnsent; }
    // False while so much waits to be sent that nothing more is received.
    [[nodiscard]] bool accepts_input() const { return unsent() <= bounds::kUnsentAnswers; }

    // Encrypts all of `from` and sends what the transport takes; the rest stays in unsent().
    [[nodiscard]] Result<> write(std::span<const std::byte> from);

    [[nodiscard]] Result<> update_keys();
    void close();  // close_notify, behind everything written

    // Sends what is left. A failure is reported by the next write.
    void flush();
    [[nodiscard]] std::size_t unsent() const { return tls_->output().size(); }

    [[nodiscard]] const std::optional<Error>& write_error() const { return write_error_; }
    [[nodiscard]] const std::optional<Step>& end_of_reading() const { return end_of_reading_; }
    [[nodiscard]] Agreement agreement() const { return tls_->agreement(); }
    [[nodiscard]] std::string peer_chain() const { return tls_->peer_chain(); }
    void add_stats(Stats& stats) const;

    ByteStream& transport() { return transport_; }
    [[nodiscard]] const ByteStream& transport() const { return transport_; }

 private:
    // Ciphertext that one call receives without any plaintext in it. A peer that sends key updates
    // or tickets as fast as it can would otherwise keep a thread, and a lock, for ever.
    static constexpr std::size_t kBudget = 64U << 10U;

    void begin_receiving() {
        drained_ = false;
        budget_ = kBudget;
    }
    std::optional<std::size_t> receive(std::span<std::byte> into) override;
    std::size_t send(std::span<const std::byte> record) override;
    std::optional<std::size_t> send_some(std::span<const std::byte> bytes, bool more);
    Step settle(Step step);

    ByteStream transport_;
    std::unique_ptr<Tls> tls_;
    std::optional<Step> end_of_reading_;  // closed or failed
    std::optional<Error> write_error_;
    std::optional<Error> transport_error_;  // what receiving failed with
    bool drained_ = false;                  // the last receive emptied the socket
    std::size_t budget_ = kBudget;
    std::size_t records_to_come_ = 0;  // of the piece that is being written
    std::uint64_t data_in_ = 0, data_out_ = 0, wire_in_ = 0, wire_out_ = 0;
};

}  // namespace tlsfs
