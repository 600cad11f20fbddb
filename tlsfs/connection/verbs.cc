// SPDX-License-Identifier: MIT
#include "connection/verbs.h"

#include <fmt/format.h>

#include "connection/given_stream.h"

namespace tlsfs {
namespace {

Choices without_pems(const Choices& chosen) {
    return chosen;
}

}  // namespace

Choices Verbs::choices() const {
    if (const Setup* setup = endpoint_.setup()) return without_pems(setup->settings());
    return without_pems(first_settings(*policy_));
}

Result<Progress> Verbs::carry_out(const Command& command, Turn turn) {
    return std::visit([&](const auto& one) { return apply(one, turn); }, command);
}

// The one place where the administrator's policy meets what a program sets.
Result<> Verbs::check_choices(const Choices& next) const {
    if (auto permitted = permits(*policy_, next); !permitted) return permitted;
    if (next.engine == EngineChoice::kernel && endpoint_.kernel() == nullptr) {
        return failure(EOPNOTSUPP, "engine kernel: the module tlsdev is not loaded");
    }
    const Choices now = choices();
    if (next.groups != now.groups) {
        if (auto known = check_groups(next.groups); !known) return known;
    }
    if (next.ciphers == now.ciphers) return {};
    auto known = check_ciphers(next.ciphers);
    if (!known || policy_->ciphers.empty()) return known;
    return check_ciphers_within(next.ciphers, policy_->ciphers);
}

Result<Progress> Verbs::apply(const command::Set& line, Turn) {
    if (auto fit = check_choices(line.choices); !fit) return tl::unexpected(fit.error());
    if (Setup* setup = endpoint_.setup()) setup->choose(line.choices);
    // Of all that can be set, this alone means something later.
    if (Channel* channel = endpoint_.channel()) channel->set_idle_limit(line.choices.idle);
    return Progress::done;
}

Result<Progress> Verbs::apply(const command::Fd& fd, Turn turn) {
    Setup& setup = *endpoint_.setup();
    if (setup.has_transport()) return failure(EBUSY, "fd: there is a transport already");
    auto transport = take_stream("fd", fd.read, fd.write, turn);
    if (!transport) return tl::unexpected(transport.error());
    setup.set_transport(std::move(*transport));
    return Progress::done;
}

// Before and after the handshake alike.
Result<> Verbs::check_plain() const {
    if (const UserChannel* user = endpoint_.user()) return user->check_free("plain");
    if (endpoint_.in_kernel()) return failure(EOPNOTSUPP, "plain: the engine is kernel");
    if (!endpoint_.setup()->has_plain()) return {};
    return failure(EBUSY, "plain: there is a plain side already");
}

Result<Progress> Verbs::apply(const command::Plain& plain, Turn turn) {
    if (auto free = check_plain(); !free) return tl::unexpected(free.error());
    auto stream = take_stream("plain", plain.read, plain.write, turn);
    if (!stream) return tl::unexpected(stream.error());
    if (UserChannel* user = endpoint_.user()) {
        if (auto begun = user->take_plain(std::move(*stream)); !begun)
            return tl::unexpected(begun.error());
    } else {
        endpoint_.setup()->set_plain(std::move(*stream));
    }
    return Progress::done;
}

Result<ByteStream> Verbs::take_stream(const char* verb, int read, int write, Turn turn) {
    if (turn.request == nullptr) {
        return failure(EPERM, fmt::format("{}: its writer does not wait any more", verb));
    }
    const Services& services = endpoint_.services();
    const uid_t user = endpoint_.facts().owner.uid;
    // A file system of the user's own may keep close(2) waiting for ever.
    if (!services.background.may_close_more(user)) {
        return failure(EMFILE, fmt::format("{}: refused descriptors wait to be closed", verb));
    }
    auto first = turn.request->take_fd(read);
    if (!first) return tl::unexpected(first.error());
    UniqueFd second;
    if (write != read) {
        auto taken = turn.request->take_fd(write);
        if (!taken) give_back(services, user, std::move(*first));
        if (!taken) return tl::unexpected(taken.error());
        second = std::move(*taken);
    }
    return adopt_given(services, user, std::move(*first), std::move(second));
}

Result<Progress> Verbs::apply(const command::Dial& target, Turn turn) {
    if (auto permitted = permits_dial(*policy_); !permitted)
        return tl::unexpected(permitted.error());
    Setup& setup = *endpoint_.setup();
    if (setup.has_transport()) return failure(EBUSY, "dial: there is a transport already");
    if (turn.request == nullptr) return failure(EPERM, "dial: its writer does not wait any more");
    const auto identity = turn.request->dial_as(!target.path.empty());
    if (!identity) return tl::unexpected(identity.error());
    if (auto begun = setup.dial(target, *identity); !begun) return tl::unexpected(begun.error());
    return Progress::waiting;
}

// Policy first: only now it is known who is verified.
Result<> Verbs::check_ready(Role role, const char* verb) const {
    const Setup& setup = *endpoint_.setup();
    if (auto permitted = permits(*policy_, setup.settings(), role); !permitted) return permitted;
    if (setup.has_transport() || endpoint_.facts().trial) return {};
    return failure(ENOTCONN, fmt::format("{}: no transport yet", verb));
}

Result<Progress> Verbs::apply(const command::Client& client, Turn) {
    if (auto ready = check_ready(Role::client, "client"); !ready)
        return tl::unexpected(ready.error());
    return endpoint_.begin_handshake(
        Role::client, client.name ? *client.name : endpoint_.setup()->default_name());
}

Result<Progress> Verbs::apply(const command::Server&, Turn) {
    if (auto ready = check_ready(Role::server, "server"); !ready)
        return tl::unexpected(ready.error());
    return endpoint_.begin_handshake(Role::server, {});
}

Result<Progress> Verbs::apply(const command::KeyUpdate&, Turn) {
    if (auto updated = endpoint_.channel()->update_keys(); !updated)
        return tl::unexpected(updated.error());
    return Progress::done;
}

Result<Progress> Verbs::apply(const command::Close&, Turn turn) {
    if (auto closed = endpoint_.channel()->close(turn.answers); !closed)
        return tl::unexpected(closed.error());
    endpoint_.facts().step(Event::local_close);
    return Progress::ended;
}

Result<Progress> Verbs::apply(const command::Hangup&, Turn turn) {
    if (auto ended = endpoint_.hangup(turn.answers); !ended) return tl::unexpected(ended.error());
    return Progress::ended;
}

}  // namespace tlsfs
