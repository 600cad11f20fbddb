// SPDX-License-Identifier: MIT
#include "connection/setup.h"

#include <algorithm>
#include <utility>

#include "connection/given_stream.h"

namespace tlsfs {

using std::chrono::milliseconds;

Setup::Setup(const Services& services, ConnectionEvents& events, Facts& facts, Settings first)
    : services_(services),
      events_(events),
      facts_(facts),
      settings_(std::move(first)),
      pems_(services.pems, settings_),
      dialling_(services, events) {}

Result<> Setup::take_transport(UniqueFd read, UniqueFd write) {
    auto taken = adopt_given(services_, facts_.owner.uid, std::move(read), std::move(write));
    if (!taken) return tl::unexpected(taken.error());
    transport_ = std::move(*taken);
    return {};
}

Result<> Setup::dial(const command::Dial& target, std::optional<Identity> identity) {
    auto begun = dialling_.begin(target, std::move(identity), settings_.timeout, facts_.owner.uid);
    if (begun) facts_.dialled_host = target.host;
    return begun;
}

std::optional<Result<>> Setup::dialled(const std::shared_ptr<Cancellation>& attempt,
                                       Result<UniqueFd> outcome) {
    if (!dialling_.finish(attempt)) return std::nullopt;
    auto set = outcome ? take_transport(std::move(*outcome), {})
                       : Result<>(tl::unexpected(outcome.error()));
    dial_time_ = set ? dialling_.since_begun() : milliseconds{0};
    if (!set) facts_.log_refusal("dial", set.error());
    if (!set) facts_.dialled_host.clear();  // the next transport may lead elsewhere
    return set;
}

std::optional<Error> Setup::dial_timed_out() {
    if (!dialling_.under_way()) return std::nullopt;
    dialling_.give_up();
    Error error{ETIMEDOUT, "dial: the timeout ran out"};
    facts_.log_refusal("dial", error);
    facts_.dialled_host.clear();
    return error;
}

std::string Setup::default_name() const {
    if (facts_.dialled_host.empty() && transport_.valid()) return transport_.remote_ip();
    return facts_.dialled_host;
}

Result<std::unique_ptr<Tls>> Setup::prepare_tls(Role role, const std::string& name) {
    if (const auto good = pems_.check(); !good) return tl::unexpected(good.error());
    auto terms = services_.contexts.get(settings_, role, facts_.owner.uid);
    if (!terms) return tl::unexpected(terms.error());
    if (transport_.valid()) terms->signing.peer = transport_.remote();
    slow_ = terms->is_slow();
    return Tls::create(std::move(*terms), services_.contexts.sessions(), name);
}

Result<> Setup::begin_handshake(Role role, const std::string& name, bool keep_secrets) {
    auto tls = prepare_tls(role, name);
    if (!tls) return tl::unexpected(tls.error());
    if (facts_.trial) return {};
    facts_.step(Event::handshake);
    pems_.wipe();
    tell_facts(role, name);
    handshake_ = std::make_unique<Handshake>(
        services_, events_, facts_,
        std::make_unique<RecordStream>(std::move(transport_), std::move(*tls)),
        Handshake::Terms{keep_secrets, slow_});
    transport_ = {};
    handshake_->limit(std::max(settings_.timeout - dial_time_, milliseconds{1}));
    return {};
}

void Setup::tell_facts(Role role, const std::string& name) {
    facts_.fields.role = role;
    facts_.fields.engine = "user";
    facts_.fields.name = role == Role::client ? name : std::string();
    facts_.fields.local = transport_.local();
    facts_.fields.remote = transport_.remote();
}

}  // namespace tlsfs
