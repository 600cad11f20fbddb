// SPDX-License-Identifier: MIT
#include "tunnel_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <exception>
#include <tuple>
#include <utility>

#include "proxy_reader.h"
#include "report.h"
#include "transfer.h"

namespace tlsfs::cmd {
namespace {

Error as_error(const Failure& why) {
    return {why.code, why.text.empty() ? std::strerror(why.code) : why.text};
}

// Small pieces go on at once, as they came; a peer that has vanished is noticed some day. Unix
// sockets know neither option, and need none.
void set_up(int socket_fd) {
    constexpr int kOn = 1;
    setsockopt(socket_fd, IPPROTO_TCP, TCP_NODELAY, &kOn, sizeof(kOn));
    setsockopt(socket_fd, SOL_SOCKET, SO_KEEPALIVE, &kOn, sizeof(kOn));
}

// Before anything can fail, so that a failure is a reset where the accepted side is the plain one.
UniqueFd prepared(UniqueFd accepted, const TunnelOptions& options) {
    set_up(accepted.get());
    if (options.is_client()) reset_at_close(accepted.get(), true);
    return accepted;
}

}  // namespace

TunnelConnection::TunnelConnection(TunnelShare share,
                                   std::shared_ptr<const Credentials> credentials,
                                   Accepted accepted)
    : share_(share),
      credentials_(std::move(credentials)),
      accepted_(prepared(std::move(accepted.socket_fd), share_.options)),
      endpoints_{accepted.peer, local_address(accepted_.get())},
      peer_(address_text(accepted.peer)) {}

void TunnelConnection::run() noexcept {
    try {
        tunnel();
    } catch (const std::exception& cause) {
        complain(cause.what());
    }
    over_ = true;
    share_.finished.set();
}

void TunnelConnection::tunnel() {
    auto halves = share_.options.is_client() ? connect_and_be_client() : be_server_and_connect();
    if (!halves) return complain(halves.error().text);
    if (share_.options.verbose) announce(*halves);
    if (const Failure why = relay(std::move(*halves))) complain(why.text);
}

Result<TunnelConnection::Halves> TunnelConnection::connect_and_be_client() {
    auto connected = share_.targets.connect(called_off_);
    if (!connected) return tl::unexpected(connected.error());
    set_up(connected->socket_fd.get());
    const Target* target = connected->target;
    auto tls = shake_hands(std::move(connected->socket_fd), target->address.host);
    if (!tls) return failure(tls.error().code, target->text + ": " + tls.error().text);
    return Halves{std::move(*tls), std::move(accepted_), target};
}

Result<TunnelConnection::Halves> TunnelConnection::be_server_and_connect() {
    if (share_.options.accept_proxy_header) {
        const auto taken = take_proxy_header();
        if (!taken) return tl::unexpected(taken.error());
    }
    auto tls = shake_hands(std::move(accepted_), {});
    if (!tls) return tl::unexpected(tls.error());
    const auto without_target = [&tls](const Error& cause) {
        // A close_notify would make an empty answer of what is none.
        std::ignore = tls->hangup();
        return tl::unexpected(cause);
    };
    auto connected = share_.targets.connect(called_off_);
    if (!connected) return without_target(connected.error());
    set_up(connected->socket_fd.get());
    reset_at_close(connected->socket_fd.get(), true);
    if (share_.options.proxy_header) {
        const auto introduced = introduce(*tls, connected->socket_fd.get());
        if (!introduced) return without_target(introduced.error());
    }
    return Halves{std::move(*tls), std::move(connected->socket_fd), connected->target};
}

// The carrier is the companion's when this is over: a duplicate of ours would keep the peer from
// seeing its end.
Result<Connection> TunnelConnection::shake_hands(UniqueFd carrier, const std::string& host) const {
    Failure why;
    auto connection = credentials_->shake_hands(carrier.get(), host, why);
    if (!connection) return tl::unexpected(as_error(why));
    return std::move(*connection);
}

Result<> TunnelConnection::take_proxy_header() {
    const auto deadline = std::chrono::steady_clock::now() + share_.options.handshake_timeout;
    const auto told = read_proxy_header(accepted_.get(), called_off_, deadline);
    if (!told) return tl::unexpected(told.error());
    if (!*told) return {};
    endpoints_ = **told;
    peer_ = address_text(endpoints_.source) + " by way of " + peer_;
    return {};
}

// Fits any socket's buffer, which is empty: this does not wait.
Result<> TunnelConnection::introduce(const Connection& tls, int plain) const {
    Failure why;
    const auto tags = tls.status(why);
    if (!tags) return tl::unexpected(as_error(why));
    const std::string header = proxy_header(endpoints_, *tags);
    if (!write_all(plain, header)) return system_failure("PROXY header");
    return {};
}

void TunnelConnection::announce(const Halves& halves) const {
    Failure why;
    const auto tags = halves.tls->status(why);
    say(peer_ + ": to " + halves.target->text + ", " + (tags ? summary(*tags) : why.text));
}

Failure TunnelConnection::relay(Halves halves) {
    TunnelStream stream(std::move(*halves.tls), std::move(halves.plain), called_off_);
    {
        const std::scoped_lock guard(lock_);
        if (ended_by_) stream.break_off(*ended_by_);
        stream_ = &stream;
    }
    Failure why = stream.run();
    const std::scoped_lock guard(lock_);
    stream_ = nullptr;
    return why;
}

void TunnelConnection::break_off(const Failure& why) {
    const std::scoped_lock guard(lock_);
    ended_by_ = why;
    called_off_.set();
    if (stream_ != nullptr) stream_->break_off(why);
}

void TunnelConnection::break_off_if_idle_since(Deadline then, const Failure& why) {
    const std::scoped_lock guard(lock_);
    if (stream_ != nullptr && stream_->last_moved() <= then) stream_->break_off(why);
}

void TunnelConnection::complain(const std::string& cause) const {
    say(peer_ + ": " + cause);
}

}  // namespace tlsfs::cmd
