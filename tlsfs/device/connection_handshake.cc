// SPDX-License-Identifier: MIT
// From `client` or `server` to Established or Error.
#include <fmt/format.h>

#include <tuple>

#include "device/connection.h"

namespace tlsfs {

using std::chrono::steady_clock;

Result<std::unique_ptr<Tls>> Connection::prepare_tls(Role role, const std::string& name) {
    if (const auto good = check_pems(); !good) return tl::unexpected(good.error());
    auto terms = services_.contexts.get(settings_, role, owner_.uid);
    if (!terms) return tl::unexpected(terms.error());
    return Tls::create(std::move(*terms), services_.contexts.sessions(), name);
}

Result<Connection::Progress> Connection::start_handshake(Role role, const std::string& name) {
    auto tls = prepare_tls(role, name);
    if (!tls) return tl::unexpected(tls.error());
    if (trial_) return Progress::done;

    // Nothing below fails but the handshake itself.
    step(Event::handshake);
    for (SecretBytes* pem : {&settings_.ca, &settings_.cert, &settings_.key})
        SecretBytes().swap(*pem);
    facts_.role = role;
    facts_.engine = "user";
    facts_.name = role == Role::client ? name : std::string();
    facts_.local = carrier_.local();
    facts_.remote = carrier_.remote();
    stream_ = std::make_unique<RecordStream>(std::move(carrier_), std::move(*tls));
    carrier_ = {};
    const Carrier& carrier = stream_->carrier();
    read_watch_ = Reactor::Watch(services_.reactor, carrier.read_fd(), weak_from_this());
    if (!carrier.one_fd()) {
        write_watch_ = Reactor::Watch(services_.reactor, carrier.write_fd(), weak_from_this());
    }
    if (kernel_) kernel_->busy();
    if (kernel_ && settings_.engine != EngineChoice::user) {
        stream_->keep_secrets();
    } else {
        stream_->stay();
    }
    started_ = steady_clock::now();
    const auto left = std::max(settings_.timeout - dial_time_, std::chrono::milliseconds{1});
    timer_ = services_.reactor.after(left, [weak = weak_from_this()] {
        if (const auto self = std::static_pointer_cast<Connection>(weak.lock())) self->timed_out();
    });

    const Step first = stream_->handshake();
    if (first.outcome == Step::Outcome::want_input) return Progress::waiting;
    if (first.outcome == Step::Outcome::done) {
        if (auto done = established(); !done) return tl::unexpected(done.error());
        return Progress::done;
    }
    handshake_failed(first.error);
    return tl::unexpected(first.error);
}

void Connection::continue_handshake(Answers& answers) {
    const Step next = stream_->handshake();
    if (next.outcome == Step::Outcome::want_input) return;
    if (next.outcome == Step::Outcome::done) return finish_job(established(), answers);
    handshake_failed(next.error);
    finish_job(tl::unexpected(next.error), answers);
}

Result<> Connection::established() {
    services_.reactor.cancel(std::exchange(timer_, 0));
    const auto took = steady_clock::now() - started_;
    stats_.handshake_microseconds = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(took).count());
    const Agreement agreed = stream_->agreement();
    facts_.version = agreed.version;
    facts_.cipher = agreed.cipher;
    facts_.group = agreed.group;
    facts_.alpn = agreed.alpn;
    facts_.verification = agreed.verification;
    facts_.resumed = agreed.resumed;
    facts_.peer = agreed.peer;
    facts_.peer_sha256 = agreed.peer_sha256;
    if (facts_.role == Role::server) facts_.name = agreed.server_name;
    if (auto chosen = choose_engine(); !chosen) {
        handshake_failed(chosen.error());
        return chosen;
    }
    if (!in_kernel_) begin_relay();
    step(Event::ready);
    log_established();
    if (in_kernel_) kernel_->remember(status_text(facts_));
    return {};
}

void Connection::begin_relay() {
    read_watch_.reset();
    write_watch_.reset();
    relay_ = std::make_shared<Relay>(services_.reactor, std::move(stream_),
                                     std::shared_ptr<Relay::Listener>(shared_from_this(), this));
    relay_->set_idle_limit(settings_.idle);
    if (!given_plain_.valid()) return;
    std::ignore = begin_plain(
        PlainSide(PlainSide::Kind::given, std::move(given_plain_)));  // a new relay takes it
}

void Connection::handshake_failed(const Error& error) {
    fail(error);
    if (kernel_) kernel_->failed(error.code);
    drop_stream();
}

void Connection::timed_out() {
    Answers answers;
    const std::scoped_lock guard(lock_);
    timer_ = 0;
    if (state_ != State::handshaking) return;
    const Error error{ETIMEDOUT, "handshake: the timeout ran out"};
    handshake_failed(error);
    finish_job(tl::unexpected(error), answers);
}

}  // namespace tlsfs
