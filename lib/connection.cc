// SPDX-License-Identifier: MIT
// The C++ interface: options to a plan, the plan to the files of a connection.
#include <sys/socket.h>

#include <array>
#include <charconv>
#include <tuple>

#include "ctl_client.h"
#include "plan.h"
#include "text.h"
#include "tlsclient.hpp"

namespace tlsfs {

struct Connection::Files {
    internal::CtlClient ctl;
    UniqueFd data;
};

namespace {

using internal::CtlClient;
using internal::Plan;

Failure as_failure(const Error& error) {
    return {error.code, internal::printable(error.text)};
}

Failure as_failure(const Result<>& result) {
    return result ? Failure{} : as_failure(result.error());
}

// A connection with everything said that goes before the carrier.
Result<CtlClient> prepare(const Plan& plan) {
    auto ctl = CtlClient::open();
    if (!ctl) return ctl;
    if (const auto said = ctl->say(plan.policy); !said) return tl::unexpected(said.error());
    for (const auto& file : plan.files) {
        const auto given = ctl->give_pem(file.name, file.source);
        if (!given) return tl::unexpected(given.error());
    }
    return ctl;
}

Result<UniqueFd> dial_and_shake_hands(CtlClient& ctl, const std::string& target,
                                      const std::string& start) {
    const auto line = internal::dial_line(target);
    if (!line) return tl::unexpected(line.error());
    const auto dialled = ctl.dial(*line);
    if (!dialled) return tl::unexpected(dialled.error());
    return ctl.shake_hands(start);
}

Result<UniqueFd> wrap_and_shake_hands(CtlClient& ctl, const Carrier& carrier,
                                      const std::string& start) {
    const auto taken = ctl.use_carrier(carrier.read_fd, carrier.write_fd);
    if (!taken) return tl::unexpected(taken.error());
    return ctl.shake_hands(start);
}

Result<Connection> establish(const Carrier& carrier, const Result<Plan>& plan) {
    if (!plan) return tl::unexpected(plan.error());
    if (carrier.target.empty() && (carrier.read_fd < 0 || carrier.write_fd < 0)) {
        return failure(EBADF, "the carrier is no open descriptor");
    }
    auto ctl = prepare(*plan);
    if (!ctl) return tl::unexpected(ctl.error());
    auto data = carrier.target.empty() ? wrap_and_shake_hands(*ctl, carrier, plan->start)
                                       : dial_and_shake_hands(*ctl, carrier.target, plan->start);
    if (!data) return tl::unexpected(data.error());
    return Connection(
        std::make_unique<Connection::Files>(Connection::Files{std::move(*ctl), std::move(*data)}));
}

// Whether certificate and key belong together is seen when a handshake begins. This one is with
// nobody.
Result<> try_out(const Result<Plan>& plan) {
    if (!plan) return tl::unexpected(plan.error());
    auto ctl = prepare(*plan);
    if (!ctl) return tl::unexpected(ctl.error());
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return system_failure("socketpair");
    }
    const UniqueFd ours(ends[0]);
    const UniqueFd nobodys(ends[1]);
    if (auto taken = ctl->use_carrier(ours.get(), ours.get()); !taken) return taken;
    auto begun = ctl->begin_to_shake_hands(plan->start);
    if (begun) std::ignore = ctl->say("hangup\n");  // or it would be told as a failure
    return begun;
}

std::optional<Connection> outcome(Result<Connection> connection, Failure& why) {
    if (connection) return std::move(*connection);
    why = as_failure(connection.error());
    return std::nullopt;
}

std::optional<std::map<std::string, std::string>> tags_of(const CtlClient& ctl, const char* file,
                                                          Failure& why) {
    const auto text = ctl.read(file);
    if (text) return internal::parse_tags(*text);
    why = as_failure(text.error());
    return std::nullopt;
}

}  // namespace

Connection::Connection(std::unique_ptr<Files> files) noexcept : files_(std::move(files)) {}
Connection::Connection(Connection&& other) noexcept = default;
Connection& Connection::operator=(Connection&& other) noexcept = default;
Connection::~Connection() = default;

int Connection::data() const noexcept {
    return files_->data.get();
}

int Connection::open_data(Failure& why) const {
    auto data = files_->ctl.open_data();
    if (data) return data->release();
    why = as_failure(data.error());
    return -1;
}

int Connection::release() noexcept {
    const int data = files_->data.release();
    files_.reset();
    return data;
}

unsigned Connection::number() const noexcept {
    return files_->ctl.number();
}

std::string Connection::peer_path() const {
    return files_->ctl.path_of("peer");
}

std::optional<std::map<std::string, std::string>> Connection::status(Failure& why) const {
    return tags_of(files_->ctl, "status", why);
}

std::optional<std::map<std::string, std::uint64_t>> Connection::stats(Failure& why) const {
    const auto tags = tags_of(files_->ctl, "stats", why);
    if (!tags) return std::nullopt;
    std::map<std::string, std::uint64_t> numbers;
    for (const auto& [name, value] : *tags) {
        std::uint64_t number = 0;
        const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
        if (read.ec == std::errc{}) numbers.emplace(name, number);
    }
    return numbers;
}

Failure Connection::close() {
    return as_failure(files_->ctl.say("close\n"));
}

Failure Connection::keyupdate() {
    return as_failure(files_->ctl.say("keyupdate\n"));
}

Failure Connection::hangup() {
    return as_failure(files_->ctl.say("hangup\n"));
}

std::optional<Connection> client(const Carrier& carrier, const ClientOptions& options,
                                 Failure& why) {
    return outcome(establish(carrier, internal::plan_client(options)), why);
}

std::optional<Connection> server(const Carrier& carrier, const ServerOptions& options,
                                 Failure& why) {
    return outcome(establish(carrier, internal::plan_server(options)), why);
}

Failure check(const ClientOptions& options) {
    ClientOptions named = options;
    if (named.name.empty()) named.name = "localhost";  // any would do: nobody answers
    return as_failure(try_out(internal::plan_client(named)));
}

Failure check(const ServerOptions& options) {
    return as_failure(try_out(internal::plan_server(options)));
}

}  // namespace tlsfs
