// SPDX-License-Identifier: MIT
#include "engine/tls.h"

#include <fmt/format.h>
#include <openssl/err.h>

#include <algorithm>
#include <limits>
#include <system_error>

#include "engine/openssl_error.h"
#include "engine/pem.h"

namespace tlsfs {
namespace {

constexpr std::size_t kReadAhead = 64U << 10U;  // bytes received at once: a few records

int tls_index() {
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
}

std::string text_or_empty(const char* text) {
    return text == nullptr ? "" : text;
}

// SNI wants the name without the root's dot (RFC 6066 section 3), and so do certificates.
std::string without_final_dot(std::string name) {
    if (name.size() > 1 && name.ends_with('.')) name.pop_back();
    return name;
}

}  // namespace

// What OpenSSL calls back.
struct TlsCallbacks {
    static int read(BIO* bio, char* into, std::size_t size, std::size_t* count) {
        auto& tls = *static_cast<Tls*>(BIO_get_data(bio));
        BIO_clear_retry_flags(bio);
        if (tls.input_.empty() && tls.wire_ != nullptr && !tls.input_ended_) {
            const auto received = tls.wire_->receive(std::as_writable_bytes(std::span(into, size)));
            *count = received.value_or(0);
            tls.input_ended_ = received && *received == 0;
            if (!received) BIO_set_retry_read(bio);
            return *count > 0 ? 1 : 0;
        }
        *count = std::min(size, tls.input_.size());
        if (*count == 0) {
            if (!tls.input_ended_) BIO_set_retry_read(bio);
            return 0;
        }
        std::memcpy(into, tls.input_.bytes().data(), *count);
        tls.input_.consume(*count);
        return 1;
    }

    // No exception may pass through OpenSSL.
    static int write(BIO* bio, const char* from, std::size_t size, std::size_t* count) try {
        auto& tls = *static_cast<Tls*>(BIO_get_data(bio));
        auto record = std::as_bytes(std::span(from, size));
        if (tls.wire_ != nullptr && tls.output_.empty()) {
            record = record.subspan(tls.wire_->send(record));
        }
        tls.output_.append(record);
        *count = size;
        return 1;
    } catch (const std::bad_alloc&) {
        return -1;
    }

    static long control(BIO* bio, int command, long, void*) {
        const auto& tls = *static_cast<const Tls*>(BIO_get_data(bio));
        if (command == BIO_CTRL_FLUSH) return 1;
        if (command == BIO_CTRL_EOF) return tls.input_ended_ && tls.input_.empty() ? 1 : 0;
        return 0;
    }

    static BIO_METHOD* method() {
        static BIO_METHOD* const made = [] {
            BIO_METHOD* m =
                BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tlsfs queues");
            BIO_meth_set_read_ex(m, read);
            BIO_meth_set_write_ex(m, write);
            BIO_meth_set_ctrl(m, control);
            return m;
        }();
        return made;
    }

    static void count(int outgoing, int, int type, const void* data, std::size_t size, SSL* ssl,
                      void*) {
        auto& tls = *static_cast<Tls*>(SSL_get_ex_data(ssl, tls_index()));
        if (type == SSL3_RT_HEADER) {
            ++(outgoing != 0 ? tls.records_out_ : tls.records_in_);
            if (outgoing != 0) ++tls.records_since_finished_;
        } else if (type == SSL3_RT_HANDSHAKE && size > 0) {
            const int message = *static_cast<const unsigned char*>(data);
            if (message == SSL3_MT_KEY_UPDATE) ++tls.key_updates_;
            if (outgoing == 0 && tls.handshake_over_) ++tls.messages_in_a_row_;
            // Told of after its record has gone out.
            if (message == SSL3_MT_FINISHED && outgoing != 0) tls.records_since_finished_ = 0;
        }
    }

    // When the peer's hello, or its wish for a certificate, is known.
    static int show_identity(SSL* ssl, void* argument) try {
        auto& tls = *static_cast<Tls*>(argument);
        return use_identity(ssl, choose_identity(ssl, tls.identities_), tls.signing_) ? 1 : 0;
    } catch (const std::bad_alloc&) {
        return 0;
    }

    static void log_key(const SSL* ssl, const char* line) {
        auto& tls = *static_cast<Tls*>(SSL_get_ex_data(ssl, tls_index()));
        if (tls.keep_secrets_) tls.secrets_.note(line);
    }

    static int keep_session(SSL* ssl, SSL_SESSION* session) {
        auto& tls = *static_cast<Tls*>(SSL_get_ex_data(ssl, tls_index()));
        if (!tls.context_->resumable || tls.session_key_.empty()) return 0;
        const bool resumed = SSL_session_reused(ssl) == 1;
        const std::time_t until = resumed ? tls.verified_until_ : verified_until(ssl);
        tls.sessions_.put(tls.session_key_, {SslSessionPtr(session), until});
        return 1;  // we own the reference now
    }
};

void limit_sessions(SSL_CTX* context) {
    const auto limit_kept = [](SSL* ssl, SSL_SESSION* session) {
        limit_session(ssl, session);
        return 0;
    };
    const auto limit_sealed = [](SSL* ssl, void*) {
        limit_session(ssl, SSL_get_session(ssl));
        return 1;
    };
    SSL_CTX_sess_set_new_cb(context, limit_kept);
    SSL_CTX_set_session_ticket_cb(context, limit_sealed, nullptr, nullptr);
}

void keep_new_sessions(SSL_CTX* context) {
    SSL_CTX_set_session_cache_mode(context,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(context, TlsCallbacks::keep_session);
}

void tell_secrets(SSL_CTX* context) {
    SSL_CTX_set_keylog_callback(context, TlsCallbacks::log_key);
}

Tls::Tls(std::shared_ptr<const TlsContext> context, SessionCache& sessions)
    : context_(std::move(context)),
      sessions_(sessions),
      check_{context_->verify, context_->allow, std::nullopt},
      ssl_(SSL_new(context_->ssl.get())) {
    BIO* bio = ssl_ ? BIO_new(TlsCallbacks::method()) : nullptr;
    if (bio == nullptr) throw std::bad_alloc();
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_ex_data(ssl_.get(), tls_index(), this);
    SSL_set_ex_data(ssl_.get(), peer_check_index(), &check_);
    SSL_set_msg_callback(ssl_.get(), TlsCallbacks::count);
    if (context_->role == Role::client) {
        SSL_set_connect_state(ssl_.get());
    } else {
        SSL_set_accept_state(ssl_.get());
    }
}

Tls::~Tls() {
    // How the connection ended is the kernel's to know. OpenSSL, seeing no close_notify, would take
    // the sessions that it made for bad ones.
    if (in_kernel_) SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

Result<std::unique_ptr<Tls>> Tls::create(Terms terms, SessionCache& sessions,
                                         const std::string& name) {
    std::unique_ptr<Tls> tls(new Tls(std::move(terms.context), sessions));
    if (auto set = tls->use_key(std::move(terms.key)); !set) return tl::unexpected(set.error());
    tls->use_identities(std::move(terms.identities), std::move(terms.signing));
    if (tls->context_->role == Role::server) return tls;
    if (auto set = tls->set_name(without_final_dot(name)); !set) return tl::unexpected(set.error());
    tls->offer_session();
    return tls;
}

Result<> Tls::use_key(SharedKey key) {
    ERR_clear_error();
    key_ = std::move(key);
    if (key_ == nullptr || SSL_use_PrivateKey(ssl_.get(), key_.get()) == 1) return {};
    return tl::unexpected(take_openssl_error("key", EINVAL));
}

void Tls::use_identities(std::vector<SharedIdentity> identities, SigningTerms signing) {
    if (identities.empty()) return;
    identities_ = std::move(identities);
    signing_ = std::move(signing);
    SSL_set_cert_cb(ssl_.get(), TlsCallbacks::show_identity, this);
}

// After the handshake nothing more is signed: nobody renegotiates, and a client offers no
// post-handshake authentication.
void Tls::forget_key() {
    SSL_certs_clear(ssl_.get());
    key_.reset();
    identities_.clear();
}

Result<> Tls::set_name(const std::string& name) {
    using Mode = VerifyPolicy::Mode;
    const Mode mode = context_->verify.mode;
    const bool chain_matters = mode == Mode::system || mode == Mode::ca;
    if (chain_matters && name.empty()) {
        return failure(EINVAL, "client: no name to look for in the certificate; give one");
    }
    if (chain_matters) {
        if (auto required = require_name(ssl_.get(), name); !required) return required;
    }
    // RFC 6066 section 3: an address is no host name.
    if (!name.empty() && !is_ip_address(name) &&
        SSL_set_tlsext_host_name(ssl_.get(), name.c_str()) != 1) {
        ERR_clear_error();
        return failure(EINVAL, fmt::format("'{}' is no host name", name));
    }
    session_key_ = context_->id + " " + name;
    return {};
}

void Tls::offer_session() {
    if (!context_->resumable) return;
    const auto [session, until] = sessions_.take(session_key_);
    verified_until_ = until;
    if (session) SSL_set_session(ssl_.get(), session.get());
}

Step Tls::judge(int returned, const char* what) {
    switch (SSL_get_error(ssl_.get(), returned)) {
        case SSL_ERROR_NONE:
            return {};
        case SSL_ERROR_WANT_READ:
            return {Step::Outcome::want_input, 0, {}};
        case SSL_ERROR_ZERO_RETURN:
            return {Step::Outcome::closed, 0, {}};
        default:
            break;
    }
    Error error = take_openssl_error(what, ECONNRESET);
    if (check_.refusal) error = *check_.refusal;
    if (signing_.failure) error = *signing_.failure;
    return {Step::Outcome::failed, 0, std::move(error)};
}

void Tls::read_ahead() {
    SSL_set_read_ahead(ssl_.get(), 1);
    SSL_set_default_read_buffer_len(ssl_.get(), kReadAhead);
}

Step Tls::handshake() {
    ERR_clear_error();
    Step step = judge(SSL_do_handshake(ssl_.get()), "handshake");
    if (step.outcome != Step::Outcome::want_input) forget_key();
    handshake_over_ = step.outcome == Step::Outcome::done;
    if (step.outcome != Step::Outcome::closed) return step;
    return {
        Step::Outcome::failed, 0, {ECONNRESET, "handshake: the peer closed in the middle of it"}};
}

Step Tls::read(std::span<std::byte> into) {
    ERR_clear_error();
    std::size_t count = 0;
    const int returned = SSL_read_ex(ssl_.get(), into.data(), into.size(), &count);
    Step step = judge(returned, "read");
    step.count = count;
    const bool went_on =
        step.outcome == Step::Outcome::done || step.outcome == Step::Outcome::want_input;
    if (went_on && is_flooded()) {
        return {Step::Outcome::failed, 0, {EPROTO, "read: too many handshake messages in a row"}};
    }
    if (step.outcome == Step::Outcome::done) messages_in_a_row_ = 0;
    if (step.outcome == Step::Outcome::want_input) give_buffers_back();
    return step;
}

Step Tls::peek() {
    ERR_clear_error();
    std::byte one{};
    std::size_t count = 0;
    Step step = judge(SSL_peek_ex(ssl_.get(), &one, 1, &count), "read");
    if (step.outcome == Step::Outcome::want_input) give_buffers_back();
    return step;
}

// A ticket makes OpenSSL set up a buffer for writing, which a write gives back: one of nothing will
// do. Of an idle client's memory it is more than half.
void Tls::give_buffers_back() {
    std::size_t none = 0;
    if (SSL_is_init_finished(ssl_.get()) == 1) SSL_write_ex(ssl_.get(), "", 0, &none);
    ERR_clear_error();
}

Result<> Tls::write(std::span<const std::byte> from) {
    ERR_clear_error();
    std::size_t count = 0;
    const int returned = SSL_write_ex(ssl_.get(), from.data(), from.size(), &count);
    if (returned == 1) return {};
    Step step = judge(returned, "write");
    if (step.outcome == Step::Outcome::failed) return tl::unexpected(std::move(step.error));
    return failure(EPROTO, "write: the peer wants a handshake in the middle of the data");
}

Result<> Tls::update_keys() {
    if (SSL_version(ssl_.get()) != TLS1_3_VERSION) {
        return failure(EINVAL, "keyupdate: only TLS 1.3 has it");
    }
    ERR_clear_error();
    if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_REQUESTED) != 1) {
        return tl::unexpected(take_openssl_error("keyupdate", EBUSY));
    }
    Step step = judge(SSL_do_handshake(ssl_.get()), "keyupdate");
    if (step.outcome == Step::Outcome::failed) return tl::unexpected(std::move(step.error));
    return {};
}

void Tls::close() {
    if (close_sent_ || SSL_is_init_finished(ssl_.get()) == 0) return;
    close_sent_ = true;
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
}

Result<> Tls::hand_over(int socket) {
    if (!input_.empty() || SSL_has_pending(ssl_.get()) != 0) {
        return failure(EOPNOTSUPP, "data of the peer has been read already");
    }
    const auto keys = derive_traffic_keys(ssl_.get(), secrets_);
    if (!keys) return tl::unexpected(keys.error());
    // TLS 1.2 counts from the change of keys on, and the Finished messages come behind it.
    const bool tls13 = SSL_version(ssl_.get()) == TLS1_3_VERSION;
    const RecordNumbers next =
        tls13 ? RecordNumbers{records_since_finished_, 0} : RecordNumbers{1, 1};
    auto set = set_ktls(socket, ssl_.get(), *keys, next);
    // Of what is still to come only a client's tickets are of use.
    const bool tickets = tls13 && context_->role == Role::client && context_->resumable;
    if (!tickets) secrets_.forget();
    if (!set) return set;
    in_kernel_ = true;
    handed_over_ = next;
    return {};
}

// OpenSSL takes only records, so the messages are sealed again, as its peer would have sent them.
void Tls::absorb(std::string_view messages) {
    constexpr std::uint8_t kHandshake = 22;
    if (secrets_.server.empty()) return;
    const auto keys = derive_traffic_keys(ssl_.get(), secrets_);
    if (!keys) return;
    const auto record = seal_record(ssl_.get(), keys->read, absorbed_++, kHandshake, messages);
    if (!record) return;
    input_.append(std::as_bytes(std::span(*record)));
    std::ignore = peek();
    output_.consume(output_.size());  // the way out is the kernel's now
}

Agreement Tls::agreement() const {
    const SSL* ssl = ssl_.get();
    Agreement agreed;
    agreed.version = SSL_get_version(ssl);
    agreed.cipher = SSL_get_cipher_name(ssl);
    const int group = static_cast<int>(SSL_get_negotiated_group(ssl_.get()));
    if (group != 0) agreed.group = text_or_empty(SSL_group_to_name(ssl_.get(), group));
    const unsigned char* alpn = nullptr;
    unsigned alpn_size = 0;
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_size);
    if (alpn_size > 0) agreed.alpn.assign(reinterpret_cast<const char*>(alpn), alpn_size);
    agreed.server_name = text_or_empty(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
    agreed.resumed = SSL_session_reused(ssl) == 1;
    switch (context_->verify.mode) {
        case VerifyPolicy::Mode::system:
        case VerifyPolicy::Mode::ca:
            agreed.verification = Verification::ok;
            break;
        case VerifyPolicy::Mode::pin:
            agreed.verification = Verification::pin;
            break;
        case VerifyPolicy::Mode::none:
        case VerifyPolicy::Mode::unset:
            agreed.verification = Verification::none;
            break;
    }
    if (X509* peer = SSL_get0_peer_certificate(ssl)) {
        agreed.peer = subject(peer);
        agreed.peer_sha256 = fingerprint(peer);
    }
    return agreed;
}

std::string Tls::peer_chain() const {
    std::vector<X509*> chain;
    X509* leaf = SSL_get0_peer_certificate(ssl_.get());
    if (leaf != nullptr) chain.push_back(leaf);
    // A client's list begins with the leaf, a server's does not.
    STACK_OF(X509)* sent = SSL_get_peer_cert_chain(ssl_.get());
    for (int i = 0; i < sk_X509_num(sent); ++i) {
        X509* certificate = sk_X509_value(sent, i);
        if (leaf == nullptr || X509_cmp(certificate, leaf) != 0) chain.push_back(certificate);
    }
    return to_pem(chain);
}

}  // namespace tlsfs
