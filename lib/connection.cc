// SPDX-License-Identifier: MIT
// The C++ interface: options to a plan, the plan to a connection.
#include <sys/socket.h>

#include <charconv>

#include "control.h"
#include "ctl_client.h"
#include "opening.h"
#include "plan.h"
#include "text.h"
#include "tlsclient.hpp"

namespace tlsfs {

struct Connection::Parts {
    UniqueFd data;
    bool is_socket;
    unsigned number;
    std::map<std::string, std::string> agreed;
    std::string directory;  // of the connection's files; empty if there are none
    std::unique_ptr<internal::Control> control;
};

namespace {

using internal::CtlClient;
using internal::Opened;
using internal::Opening;
using internal::Plan;
using Parts = Connection::Parts;

Failure as_failure(const Error& error) {
    return {error.code, internal::printable(error.text)};
}

Failure as_failure(const Result<>& result) {
    return result ? Failure{} : as_failure(result.error());
}

std::string directory_of(const internal::Mount& mount, unsigned number) {
    return mount.is_socket ? std::string() : mount.path + "/" + std::to_string(number);
}

Connection made_of(Parts parts) {
    return Connection(std::make_unique<Parts>(std::move(parts)));
}

Connection with_socket(const Opening& opening, Opened opened) {
    const unsigned number = opened.number;
    return made_of({std::move(opened.data), true, number, internal::parse_tags(opened.status),
                    directory_of(opening.mount(), number),
                    internal::control_by_attach(std::move(opened.guest), number)});
}

Result<Connection> by_files(const Opening& opening) {
    auto mount = internal::open_mount(opening.mount().path);
    if (!mount) return tl::unexpected(mount.error());
    auto ctl = CtlClient::open(std::move(*mount));
    if (!ctl) return tl::unexpected(ctl.error());
    auto data = ctl->shake_hands(opening.plan(), opening.transport());
    if (!data) return tl::unexpected(data.error());
    const auto status = ctl->read("status");
    if (!status) return tl::unexpected(status.error());
    const unsigned number = ctl->number();
    return made_of({std::move(*data), false, number, internal::parse_tags(*status),
                    directory_of(opening.mount(), number),
                    internal::control_by_files(std::move(*ctl))});
}

Result<Connection> establish(const Transport& transport, Result<Plan> plan) {
    if (!plan) return tl::unexpected(plan.error());
    auto opening = Opening::prepare(transport, std::move(*plan));
    if (!opening) return tl::unexpected(opening.error());
    const bool has_files = !opening->mount().is_socket;
    if (has_files && opening->plan().kernel_only) return by_files(*opening);
    auto opened = opening->open();
    if (opened) return with_socket(*opening, std::move(*opened));
    if (has_files && opened.error().code == EOPNOTSUPP) return by_files(*opening);
    return tl::unexpected(opened.error());
}

Failure outcome_of_trying(const Result<Plan>& plan) {
    if (!plan) return as_failure(plan.error());
    return as_failure(internal::try_out(*plan));
}

std::optional<Connection> outcome(Result<Connection> connection, Failure& why) {
    if (connection) return std::move(*connection);
    why = as_failure(connection.error());
    return std::nullopt;
}

template <class Value>
std::optional<Value> value_or_why(Result<Value> result, Failure& why) {
    if (result) return std::move(*result);
    why = as_failure(result.error());
    return std::nullopt;
}

}  // namespace

Connection::Connection(std::unique_ptr<Parts> parts) noexcept : parts_(std::move(parts)) {}
Connection::Connection(Connection&& other) noexcept = default;
Connection& Connection::operator=(Connection&& other) noexcept = default;
Connection::~Connection() = default;

int Connection::data() const noexcept {
    return parts_->data.get();
}

int Connection::release() noexcept {
    const int data = parts_->data.release();
    parts_.reset();
    return data;
}

unsigned Connection::number() const noexcept {
    return parts_->number;
}

const std::map<std::string, std::string>& Connection::agreed() const noexcept {
    return parts_->agreed;
}

std::string Connection::path_of(const std::string& file) const {
    return parts_->directory.empty() ? std::string() : parts_->directory + "/" + file;
}

std::optional<std::string> Connection::peer(Failure& why) const {
    return value_or_why(parts_->control->read("peer"), why);
}

std::optional<std::map<std::string, std::string>> Connection::status(Failure& why) const {
    const auto text = value_or_why(parts_->control->read("status"), why);
    if (!text) return std::nullopt;
    return internal::parse_tags(*text);
}

std::optional<std::map<std::string, std::uint64_t>> Connection::stats(Failure& why) const {
    const auto text = value_or_why(parts_->control->read("stats"), why);
    if (!text) return std::nullopt;
    std::map<std::string, std::uint64_t> numbers;
    for (const auto& [name, value] : internal::parse_tags(*text)) {
        std::uint64_t number = 0;
        const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
        if (read.ec == std::errc{}) numbers.emplace(name, number);
    }
    return numbers;
}

Failure Connection::close() {
    if (!parts_->is_socket) return as_failure(parts_->control->say("close"));
    if (shutdown(parts_->data.get(), SHUT_WR) == 0) return {};
    return as_failure(Result<>(system_failure("close")));
}

Failure Connection::keyupdate() {
    return as_failure(parts_->control->say("keyupdate"));
}

Failure Connection::hangup() {
    return as_failure(parts_->control->say("hangup"));
}

std::optional<Connection> client(const Transport& transport, const ClientOptions& options,
                                 Failure& why) {
    return outcome(establish(transport, internal::plan_client(options, transport)), why);
}

std::optional<Connection> server(const Transport& transport, const ServerOptions& options,
                                 Failure& why) {
    return outcome(establish(transport, internal::plan_server(options)), why);
}

Failure check(const ClientOptions& options) {
    ClientOptions named = options;
    if (named.name.empty()) named.name = "localhost";  // any would do: nobody answers
    return outcome_of_trying(internal::plan_client(named, {}));
}

Failure check(const ServerOptions& options) {
    return outcome_of_trying(internal::plan_server(options));
}

}  // namespace tlsfs
