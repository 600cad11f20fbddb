// SPDX-License-Identifier: MIT
#include "tunnel.h"

#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "report.h"

namespace tlsfs::cmd {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// A service manager wants to know when a reload began, by this clock.
void tell_of_reload() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const auto microseconds = now.tv_sec * 1'000'000LL + now.tv_nsec / 1000;
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", microseconds);
}

bool listen_at(const ListenPlace& place, const TunnelOptions& options, Entrance& entrance) {
    if (const auto* file = std::get_if<SocketFile>(&place)) {
        auto listener = listen_on_path(file->path, options.socket_mode);
        if (!listener) return false;
        entrance.sockets.push_back(std::move(listener->socket_fd));
        entrance.names.push_back(std::move(listener->name));
        return true;
    }
    const auto* address = std::get_if<HostPort>(&place);
    Listeners listeners = address != nullptr ? listen_on(*address) : passed_listeners();
    std::ranges::move(listeners, std::back_inserter(entrance.sockets));
    return !listeners.empty();
}

}  // namespace

Entrance open_entrance(const TunnelOptions& options) {
    Entrance entrance;
    for (const ListenPlace& place : options.listen) {
        if (!listen_at(place, options, entrance)) return {};
    }
    return entrance;
}

const std::array<Tunnel::Reaction, 8> Tunnel::kReactions{{
    {SIGHUP, State::serving, &Tunnel::reload},
    {SIGTERM, State::serving, &Tunnel::stop},
    {SIGINT, State::serving, &Tunnel::stop},
    {SIGTERM, State::stopping, &Tunnel::end},
    {SIGINT, State::stopping, &Tunnel::end},
    {SIGUSR1, State::serving, &Tunnel::leave},
    {SIGTERM, State::leaving, &Tunnel::stop},
    {SIGINT, State::leaving, &Tunnel::stop},
}};

Tunnel::Tunnel(const TunnelOptions& options, std::shared_ptr<const Credentials> credentials,
               Signals signals, Entrance entrance)
    : options_(options),
      credentials_(std::move(credentials)),
      signals_(std::move(signals)),
      targets_(options.targets, options.order, options.connect_timeout),
      acceptor_(std::move(entrance.sockets)),
      names_(std::move(entrance.names)),
      share_{options, targets_, loop_} {}

int Tunnel::run() {
    if (signals_.fd() < 0) return complain_of_system("signalfd");
    sd_notify(0, "READY=1");
    while (state_ != State::over) {
        if (!wait()) return complain_of_system("poll");
        follow_signals();
        if (state_ == State::serving) accept();
        const bool stops = state_ == State::stopping || state_ == State::leaving;
        const bool time_is_up = waits_for_nobody() || Clock::now() >= deadline_;
        if (stops && time_is_up) end();
    }
    return 0;
}

// Waits, and does what connections have to do.
bool Tunnel::wait() {
    const std::array others{signals_.fd(), loop_.fd()};
    if (!acceptor_.wait(others, is_full(), patience())) return false;
    loop_.dispatch();
    reap();
    return true;
}

bool Tunnel::is_full() const {
    return running_.size() >= options_.max_connections;
}

bool Tunnel::waits_for_nobody() const {
    if (state_ == State::stopping) return running_.empty();
    return std::ranges::all_of(running_, [](const auto& each) { return each->is_handed_over(); });
}

// How long nothing needs to be looked at, if nothing happens.
std::optional<milliseconds> Tunnel::patience() const {
    const Deadline next = std::min(deadline_, loop_.next_deadline().value_or(Deadline::max()));
    if (next == Deadline::max()) return std::nullopt;
    const auto left = std::chrono::ceil<milliseconds>(next - Clock::now());
    return std::clamp(left, milliseconds{0}, milliseconds{60'000});
}

void Tunnel::follow_signals() {
    while (const auto signal = signals_.take()) {
        const auto matches = [this, signal](const Reaction& each) {
            return each.signal == *signal && each.state == state_;
        };
        const auto reaction = std::ranges::find_if(kReactions, matches);
        if (reaction != kReactions.end()) (this->*reaction->react)();
    }
}

void Tunnel::reload() {
    tell_of_reload();
    Failure why;
    if (auto loaded = Credentials::load(options_.role, why)) {
        credentials_ = std::move(loaded);
        say("reloaded");
    } else {
        say("not reloaded, as before it goes on: " + why.text);
    }
    sd_notify(0, "READY=1");
}

void Tunnel::stop() {
    stop_listening(State::stopping);
    if (!running_.empty()) {
        say("stopping, connections that go on: " + std::to_string(running_.size()));
    }
}

void Tunnel::leave() {
    stop_listening(State::leaving);
    say("leaving, connections that go on: " + std::to_string(running_.size()));
}

void Tunnel::stop_listening(State state) {
    sd_notify(0, "STOPPING=1");
    names_.clear();  // while we still listen nobody takes one for left behind
    acceptor_.close();
    state_ = state;
    deadline_ = Clock::now() + options_.grace;
}

void Tunnel::end() {
    const bool leaves = state_ == State::leaving;
    state_ = State::over;
    if (leaves) {
        std::erase_if(running_, [](const auto& each) { return each->is_handed_over(); });
    }
    break_off_all();
}

void Tunnel::accept() {
    while (!is_full()) {
        auto accepted = acceptor_.next();
        if (!accepted) return;
        start(std::move(*accepted));
    }
}

void Tunnel::start(Accepted accepted) {
    const std::string peer = address_text(accepted.peer);
    try {
        running_.push_back(
            std::make_unique<TunnelConnection>(share_, credentials_, std::move(accepted)));
    } catch (const std::exception& shortage) {
        say(peer + ": " + shortage.what());
        acceptor_.rest();
        return;
    }
    running_.back()->ready();
    // What is over at once would otherwise keep its sockets until something else happens.
    if (running_.back()->is_over()) running_.pop_back();
}

void Tunnel::reap() {
    std::erase_if(running_, [](const auto& each) { return each->is_over(); });
}

// Both sides have been told when this returns, unless the companion does not answer.
void Tunnel::break_off_all() {
    for (const auto& each : running_) each->break_off("broken off: the tunnel ends");
    reap();
    deadline_ = Deadline::max();
    while (!running_.empty() && wait()) {
    }
}

}  // namespace tlsfs::cmd
