// SPDX-License-Identifier: MIT
#include "tunnel_connection.h"

#include <exception>
#include <utility>

#include "report.h"
#include "stream_options.h"

namespace tlsfs::cmd {

using This = TunnelConnection;

const std::array<This::Step, 6> This::kClientSteps{{
    {nullptr, &This::begin_connect, &This::connect},
    {&This::negotiates, &This::begin_starttls, &This::talk},
    {nullptr, &This::begin_open, &This::open},
    {&This::negotiates, &This::greet, &This::nothing_more},
    {&This::negotiates, &This::begin_hand_over, &This::hand_over},
    {nullptr, &This::begin_watch, &This::watch},
}};

const std::array<This::Step, 8> This::kServerSteps{{
    {&This::takes_proxy_header, &This::begin_proxy_header, &This::take_proxy_header},
    {&This::negotiates, &This::begin_starttls, &This::talk},
    {nullptr, &This::begin_open, &This::open},
    {nullptr, &This::begin_connect, &This::connect},
    {&This::tells_proxy_header, &This::introduce, &This::nothing_more},
    {&This::negotiates, &This::begin_greeting, &This::talk},
    {nullptr, &This::begin_hand_over, &This::hand_over},
    {nullptr, &This::begin_watch, &This::watch},
}};

const std::array<This::Step, 1> This::kLastSteps{{
    {nullptr, &This::begin_hang_up, &This::wait_for_end},
}};

TunnelConnection::TunnelConnection(const TunnelShare& share,
                                   std::shared_ptr<const Credentials> credentials,
                                   Accepted accepted)
    : share_(share),
      credentials_(std::move(credentials)),
      accepted_(std::move(accepted.socket_fd)),
      endpoints_{accepted.peer, local_address(accepted_.get())},
      peer_(address_text(accepted.peer)),
      interest_(share.loop, *this) {
    set_up_stream(accepted_.get());
    // Before anything can fail, so that a failure is a reset where the accepted side is the plain
    // one.
    if (share_.options.is_client()) reset_at_close(accepted_.get());
}

void TunnelConnection::ready() {
    if (over_) return;
    interest_.clear();
    try {
        go_on();
    } catch (const std::exception& cause) {
        fail(cause.what());
    }
}

std::span<const This::Step> TunnelConnection::steps() const {
    if (hangs_up_) return kLastSteps;
    if (share_.options.is_client()) return kClientSteps;
    return kServerSteps;
}

bool TunnelConnection::is_handed_over() const {
    return !hangs_up_ && step_ + 1 == steps().size();
}

void TunnelConnection::go_on() {
    while (!over_) {
        const Outcome outcome = run_step();
        if (!outcome) {
            fail(credentials_->explain(outcome.error()));
        } else if (*outcome) {
            return interest_.set(**outcome);
        } else {
            begun_ = false;
            over_ = ++step_ == steps().size();
        }
    }
}

This::Outcome TunnelConnection::run_step() {
    const Step& step = steps()[step_];
    if (step.wanted != nullptr && !(this->*step.wanted)()) return std::nullopt;
    if (!std::exchange(begun_, true)) {
        if (const auto begun = (this->*step.begin)(); !begun) return tl::unexpected(begun.error());
    }
    return (this->*step.go)();
}

void TunnelConnection::fail(const std::string& cause) {
    complain(cause);
    // The companion has set it otherwise if it was given the socket.
    if (plain().valid()) reset_at_close(plain().get());
    if (hangs_up_ || !number_) {
        over_ = true;
        return;
    }
    // The end of the guest's socket alone would let the connection end with a close_notify, which
    // makes an empty answer of what is none.
    hang_up();
}

void TunnelConnection::hang_up() {
    hangs_up_ = true;
    step_ = 0;
    begun_ = false;
}

void TunnelConnection::break_off(const std::string& why) {
    if (over_ || hangs_up_) return;
    interest_.clear();
    fail(why);
    ready();
}

void TunnelConnection::complain(const std::string& cause) const {
    say(peer_ + ": " + cause);
}

}  // namespace tlsfs::cmd
