// SPDX-License-Identifier: MIT
// From `client` or `server` to Established or Error; which engine carries the records.
#include <tuple>

#include "connection/endpoint.h"
#include "connection/kernel_channel.h"

namespace tlsfs {

Result<Progress> Endpoint::begin_handshake(Role role, const std::string& name) {
    const bool perhaps_kernel = kernel_ && setup_->settings().engine != EngineChoice::user;
    if (auto begun = setup_->begin_handshake(role, name, perhaps_kernel); !begun) {
        return tl::unexpected(begun.error());
    }
    if (facts_.trial) return Progress::done;
    if (kernel_) kernel_->busy();
    if (setup_->handshake()->is_slow()) return Progress::waiting;  // for a thread that may wait
    const auto outcome = continue_handshake();
    if (!outcome) return Progress::waiting;
    if (!*outcome) return tl::unexpected(outcome->error());
    return Progress::done;
}

std::optional<Result<>> Endpoint::continue_handshake() {
    const Step next = setup_->handshake()->go_on();
    if (next.outcome == Step::Outcome::want_input) return std::nullopt;
    if (next.outcome == Step::Outcome::done) return establish();
    return fail_handshake(next.error);
}

Result<> Endpoint::establish() {
    facts_.stats.handshake_microseconds =
        static_cast<std::uint64_t>(setup_->handshake()->done().count());
    tell_agreement();
    if (auto chosen = choose_channel(); !chosen) return fail_handshake(chosen.error());
    facts_.step(Event::ready);
    facts_.log_established();
    if (in_kernel()) kernel_->remember(status_text(facts_.fields));
    setup_.reset();
    return {};
}

void Endpoint::tell_agreement() {
    const Agreement agreed = setup_->handshake()->stream().agreement();
    StatusFields& fields = facts_.fields;
    fields.version = agreed.version;
    fields.cipher = agreed.cipher;
    fields.group = agreed.group;
    fields.alpn = agreed.alpn;
    fields.verification = agreed.verification;
    fields.resumed = agreed.resumed;
    fields.peer = agreed.peer;
    fields.peer_sha256 = agreed.peer_sha256;
    if (fields.role == Role::server) fields.name = agreed.server_name;
}

// The handshake is over: whose are the records from now on?
Result<> Endpoint::choose_channel() {
    const EngineChoice choice = setup_->settings().engine;
    if (!kernel_ || choice == EngineChoice::user) return carry_here();
    if (setup_->has_plain()) {
        if (choice == EngineChoice::automatic) return carry_here();
        return failure(EOPNOTSUPP,
                       "engine kernel: plain was said, and its data is a file of the kernel's");
    }
    return hand_over();
}

Result<> Endpoint::hand_over() {
    Handshake& handshake = *setup_->handshake();
    auto socket = handshake.stream().hand_over();
    if (!socket) {
        const bool possible = socket.error().code == EOPNOTSUPP;
        if (possible && setup_->settings().engine == EngineChoice::automatic) return carry_here();
        return failure(socket.error().code, "engine kernel: " + socket.error().text);
    }
    handshake.stop_watching();
    if (auto carried = kernel_->carry(*socket); !carried) return carried;
    facts_.fields.engine = "kernel";
    channel_ = std::make_unique<KernelChannel>(*kernel_, handshake.take_stream());
    return {};
}

Result<> Endpoint::carry_here() {
    Handshake& handshake = *setup_->handshake();
    if (kernel_) {
        handshake.stream().stay();
        kernel_->left_to_us();
    }
    channel_ = std::make_unique<UserChannel>(services_, events_, facts_, handshake.take_stream());
    channel_->set_idle_limit(setup_->settings().idle);
    if (setup_->has_plain()) std::ignore = user()->take_plain(setup_->take_plain());  // the first
    return {};
}

tl::unexpected<Error> Endpoint::fail_handshake(const Error& error) {
    facts_.fail(error);
    if (kernel_) kernel_->failed(error.code);
    setup_.reset();
    return tl::unexpected(error);
}

}  // namespace tlsfs
