// SPDX-License-Identifier: MIT
// One end of a TLS connection without any I/O: ciphertext in, ciphertext out. The one place that
// calls SSL_get_error().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "core/bounds.h"
#include "core/result.h"
#include "core/status.h"
#include "engine/context.h"
#include "engine/ktls.h"
#include "engine/openssl_ptr.h"
#include "engine/traffic_keys.h"
#include "engine/verify.h"
#include "io/byte_queue.h"

namespace tlsfs {

// What one step came to.
struct Step {
    enum class Outcome : std::uint8_t {
        done,        // `count` bytes of plaintext, or the whole of what was asked
        want_input,  // more ciphertext is needed first
        closed,      // the peer's close_notify
        failed,      // `error`; an alert, if one is due, waits in output()
    };
    Outcome outcome = Outcome::done;
    std::size_t count = 0;
    Error error;
};

// What a finished handshake agreed on.
struct Agreement {
    std::string version, cipher, group, alpn, server_name;
    Verification verification = Verification::unknown;
    bool resumed = false;
    std::string peer, peer_sha256;
};

// A server's sessions, by id and in tickets, end when its client has to be verified again.
void limit_sessions(SSL_CTX* context);
// New sessions of the client context go to the SessionCache of the Tls that made them.
void keep_new_sessions(SSL_CTX* context);
// Secrets go to the Tls that asked to keep them.
void tell_secrets(SSL_CTX* context);

class Tls {
 public:
    // What carries the ciphertext.
    class Wire {
     public:
        Wire() = default;
        Wire(const Wire&) = delete;
        Wire& operator=(const Wire&) = delete;
        virtual ~Wire() = default;
        // How many bytes of ciphertext were put there; nothing: none are there now; 0: none will
        // ever be.
        virtual std::optional<std::size_t> receive(std::span<std::byte> into) = 0;
        // How many bytes of a record it took. The rest waits in output(), and so does what comes
        // behind it.
        virtual std::size_t send(std::span<const std::byte> record) = 0;
    };

    // `name`: what a client sends as SNI and finds in the certificate. EINVAL if the policy needs
    // a name and there is none.
    [[nodiscard]] static Result<std::unique_ptr<Tls>> create(Terms terms, SessionCache& sessions,
                                                             const std::string& name);
    Tls(const Tls&) = delete;
    Tls& operator=(const Tls&) = delete;
    ~Tls();

    [[nodiscard]] Step handshake();
    void forget_key();  // there will be no handshake; one that is over has seen to it itself
    [[nodiscard]] Step read(std::span<std::byte> into);
    [[nodiscard]] Step peek();  // done: a byte or more of plaintext is there
    [[nodiscard]] Result<> write(std::span<const std::byte> from);
    [[nodiscard]] Result<> update_keys();
    void close();  // puts close_notify into output(); at most once

    // Ciphertext from the peer goes in here, and comes out for the peer there.
    ByteQueue& input() { return input_; }
    ByteQueue& output() { return output_; }
    void end_of_input() { input_ended_ = true; }

    // Or it comes and goes there, straight from and to OpenSSL's own buffers: no byte beyond the
    // record at hand is fetched until it may read ahead. The wire outlives this, or is taken back
    // with nullptr.
    void use(Wire* wire) { wire_ = wire; }
    void read_ahead();

    // Keeps what hand_over() needs; to be said before the handshake.
    void keep_secrets() { keep_secrets_ = true; }
    // Gives the record layer of both directions to the kernel; the handshake is over and nothing
    // behind it was read. EOPNOTSUPP: not possible here, all is as before.
    [[nodiscard]] Result<> hand_over(int socket);
    // Handshake messages that the kernel's record layer received (session tickets).
    void absorb(std::string_view messages);

    [[nodiscard]] Agreement agreement() const;
    [[nodiscard]] std::string peer_chain() const;  // PEM, leaf first

    // Those that the kernel's own numbers count are left out.
    [[nodiscard]] std::uint64_t records_in() const { return records_in_ - handed_over_.read; }
    [[nodiscard]] std::uint64_t records_out() const { return records_out_ - handed_over_.write; }
    [[nodiscard]] std::uint64_t key_updates() const { return key_updates_; }

 private:
    friend struct TlsCallbacks;

    Tls(std::shared_ptr<const TlsContext> context, SessionCache& sessions);
    [[nodiscard]] Result<> use_key(SharedKey key);
    void use_identities(std::vector<SharedIdentity> identities, SigningTerms signing);
    [[nodiscard]] Result<> set_name(const std::string& name);
    void offer_session();
    [[nodiscard]] Step judge(int returned, const char* what);
    [[nodiscard]] bool is_flooded() const { return messages_in_a_row_ > bounds::kMessagesInARow; }
    void give_buffers_back();

    std::shared_ptr<const TlsContext> context_;
    SharedKey key_;  // until the handshake is over, for others that want the same one meanwhile
    std::vector<SharedIdentity> identities_;  // as long
    SigningTerms signing_;
    SessionCache& sessions_;
    std::string session_key_;
    std::time_t verified_until_ = 0;  // of the session that was offered
    PeerCheck check_;
    ByteQueue input_, output_;
    bool input_ended_ = false;
    bool close_sent_ = false;
    Wire* wire_ = nullptr;
    std::uint64_t records_in_ = 0, records_out_ = 0, key_updates_ = 0;
    bool handshake_over_ = false;  // OpenSSL is "in init" again for each KeyUpdate
    int messages_in_a_row_ = 0;    // of the handshake's kind, received since the last data
    std::uint64_t records_since_finished_ = 0;  // sent under the traffic keys of TLS 1.3
    bool keep_secrets_ = false;
    TrafficSecrets secrets_;
    std::uint64_t absorbed_ = 0;
    bool in_kernel_ = false;
    RecordNumbers handed_over_;
    SslPtr ssl_;  // last: its callbacks use the rest
};

}  // namespace tlsfs
