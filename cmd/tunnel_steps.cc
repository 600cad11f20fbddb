// SPDX-License-Identifier: MIT
// The steps of a tunnel's connection.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <tuple>

#include "opening.h"
#include "report.h"
#include "stream_options.h"
#include "text.h"
#include "tunnel_connection.h"

namespace tlsfs::cmd {
namespace {

using Clock = std::chrono::steady_clock;
using Kind = internal::AttachReply::Kind;
using std::chrono::milliseconds;

// The companion watches the time of a handshake, and this the companion.
constexpr milliseconds kPatience{10'000};
constexpr milliseconds kPatienceAtEnd{2000};
constexpr int kAttempts = 3;

std::string seconds_text(milliseconds time) {
    const std::string fraction = std::to_string(1000 + time.count() % 1000).substr(1);
    return std::to_string(time.count() / 1000) + "." + fraction;
}

// The bytes are few and the socket's buffer is empty.
Result<> send_at_once(int socket_fd, std::string_view bytes, const char* what) {
    const ssize_t sent = send(socket_fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return system_failure(what);
    if (sent == static_cast<ssize_t>(bytes.size())) return {};
    return failure(EAGAIN, std::string(what) + ": the peer does not read");
}

}  // namespace

bool TunnelConnection::takes_proxy_header() const {
    return share_.options.accept_proxy_header;
}

bool TunnelConnection::tells_proxy_header() const {
    return share_.options.proxy_header;
}

bool TunnelConnection::negotiates() const {
    return share_.options.starttls != nullptr;
}

// A server has no plain side before its peer is known; a greeting goes before all that is relayed.
bool TunnelConnection::opens_bare() const {
    return !share_.options.is_client() || negotiates();
}

UniqueFd& TunnelConnection::transport() {
    return share_.options.is_client() ? connected_ : accepted_;
}

UniqueFd& TunnelConnection::plain() {
    return share_.options.is_client() ? accepted_ : connected_;
}

Result<> TunnelConnection::allow(milliseconds time) {
    deadline_ = Clock::now() + time;
    return {};
}

auto TunnelConnection::wait_for(int fd, const char* what) const -> Outcome {
    if (Clock::now() >= deadline_) return failure(ETIMEDOUT, std::string(what) + ": timeout");
    return Wants{fd, EPOLLIN, deadline_};
}

Result<> TunnelConnection::begin_proxy_header() {
    return allow(share_.options.handshake_timeout);
}

auto TunnelConnection::take_proxy_header() -> Outcome {
    const auto complete = proxy_reader_.read(accepted_.get());
    if (!complete) return tl::unexpected(complete.error());
    if (!*complete) return wait_for(accepted_.get(), "PROXY header");
    const auto told = proxy_reader_.endpoints();
    if (!told) return tl::unexpected(told.error());
    if (!*told) return std::nullopt;
    endpoints_ = **told;
    peer_ = address_text(endpoints_.source) + " by way of " + peer_;
    return std::nullopt;
}

Result<> TunnelConnection::begin_connect() {
    connecting_.emplace(share_.targets);
    return {};
}

auto TunnelConnection::connect() -> Outcome {
    auto outcome = connecting_->go();
    if (!outcome || *outcome) return outcome;
    target_ = &connecting_->target();
    connected_ = connecting_->take_socket();
    connecting_.reset();
    set_up_stream(connected_.get());
    if (!share_.options.is_client()) reset_at_close(connected_.get());
    return std::nullopt;
}

Result<> TunnelConnection::begin_starttls() {
    const auto side =
        share_.options.is_client() ? StartTlsTalk::Side::client : StartTlsTalk::Side::server;
    talk_.emplace(*share_.options.starttls, side);
    return allow(share_.options.handshake_timeout);
}

// A server's target greets as if it met its client first.
Result<> TunnelConnection::begin_greeting() {
    talk_.emplace(*share_.options.starttls, StartTlsTalk::Side::plain);
    return allow(share_.options.handshake_timeout);
}

auto TunnelConnection::talk() -> Outcome {
    const bool with_target = connected_.valid();
    const int socket_fd = with_target ? connected_.get() : accepted_.get();
    auto done = carry_on(*talk_, socket_fd);
    auto outcome = done && *done ? Outcome() : wait_for(socket_fd, "STARTTLS");
    if (!done) outcome = tl::unexpected(done.error());
    if (outcome || !with_target) return outcome;
    return failure(outcome.error().code, target_->text + ": " + outcome.error().text);
}

Result<> TunnelConnection::begin_open() {
    ++attempts_;
    const std::string host = target_ == nullptr ? "" : target_->address.host;
    auto begun = credentials_->begin(opens_bare() ? "open bare" : "open", host);
    if (!begun) return tl::unexpected(begun.error());
    internal::AttachRequest& request = begun->request;
    if (share_.options.idle.count() > 0) {
        request.add_lines("idle " + seconds_text(share_.options.idle) + "\n");
    }
    if (!opens_bare()) request.add_stream("plain", plain().get(), plain().get());
    request.add_stream("fd", transport().get(), transport().get());
    request.add_lines(begun->start_line);
    auto guest = internal::send_to_companion(request);
    if (!guest) return tl::unexpected(guest.error());
    guest_ = std::move(*guest);
    return allow(share_.options.handshake_timeout + kPatience);
}

auto TunnelConnection::open() -> Outcome {
    auto message = guest_->receive();
    // A companion that nobody used may end just when we come.
    const bool unread = !message && message.error().code == EPIPE;
    if (unread && attempts_ < kAttempts) {
        if (const auto begun = begin_open(); !begun) return tl::unexpected(begun.error());
        return wait_for(guest_->fd(), "companion");
    }
    if (!message) {
        const std::string where = target_ == nullptr ? "" : target_->text + ": ";
        return failure(message.error().code, where + message.error().text);
    }
    if (message->kind == Kind::pending) return wait_for(guest_->fd(), "companion");
    if (message->kind == Kind::end) return failure(ENOTCONN, "the companion has ended");
    if (!message->number) return failure(EPROTO, "attach: open was answered with something else");
    number_ = message->number;
    status_ = std::move(message->text);
    // The companion's duplicate must be the last: another one would keep the peer from seeing the
    // end of the transport.
    transport().reset();
    return std::nullopt;
}

Result<> TunnelConnection::greet() {
    return send_at_once(plain().get(), greeting_for_client(*share_.options.starttls), "greeting");
}

Result<> TunnelConnection::introduce() {
    const std::string header = proxy_header(endpoints_, internal::parse_tags(status_));
    return send_at_once(plain().get(), header, "PROXY header");
}

auto TunnelConnection::nothing_more() -> Outcome {
    return std::nullopt;
}

Result<> TunnelConnection::begin_hand_over() {
    internal::AttachRequest request("ctl " + std::to_string(*number_));
    request.add_stream("plain", plain().get(), plain().get());
    if (const auto sent = guest_->send(request); !sent) return tl::unexpected(sent.error());
    return allow(kPatience);
}

auto TunnelConnection::hand_over() -> Outcome {
    for (;;) {
        const auto message = guest_->receive();
        if (!message) return tl::unexpected(message.error());
        if (message->kind == Kind::answer) return std::nullopt;
        if (message->kind == Kind::pending) return wait_for(guest_->fd(), "companion");
        if (message->kind == Kind::end) return failure(ENOTCONN, "the companion has ended");
    }
}

Result<> TunnelConnection::begin_watch() {
    plain().reset();
    if (share_.options.verbose) announce();
    return {};
}

auto TunnelConnection::watch() -> Outcome {
    for (;;) {
        const auto message = guest_->receive();
        if (!message) return tl::unexpected(message.error());
        if (message->kind == Kind::pending) return Wants{guest_->fd(), EPOLLIN, std::nullopt};
        if (message->kind == Kind::end) break;
    }
    // The connection is over, and so is the guest.
    number_.reset();
    const auto tags = internal::parse_tags(guest_->latest_state());
    const auto state = tags.find("State");
    if (const auto cause = tags.find("Error"); cause != tags.end()) complain(cause->second);
    const bool ended =
        state != tags.end() && (state->second == "Closed" || state->second == "Error");
    if (!ended) return failure(ENOTCONN, "the companion has ended");
    return std::nullopt;
}

Result<> TunnelConnection::begin_hang_up() {
    internal::AttachRequest request("ctl " + std::to_string(*number_));
    request.add_lines("hangup\n");
    // Fails when the connection ends by itself just now.
    std::ignore = guest_->send(request);
    return allow(kPatienceAtEnd);
}

// What comes is the answer, states, or the end: both sides have been told then.
auto TunnelConnection::wait_for_end() -> Outcome {
    const auto message = guest_->receive();
    const bool waits = message && (message->kind == Kind::pending || message->kind == Kind::state);
    if (!waits || Clock::now() >= deadline_) return std::nullopt;
    return Wants{guest_->fd(), EPOLLIN, deadline_};
}

void TunnelConnection::announce() const {
    say(peer_ + ": to " + target_->text + ", " + summary(internal::parse_tags(status_)));
}

}  // namespace tlsfs::cmd
