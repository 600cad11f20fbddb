// SPDX-License-Identifier: MIT
#include "tunnel.h"

#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <system_error>

#include "report.h"

namespace tlsfs::cmd {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLastWait{2000};  // for threads whose connections were broken off

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

const std::array<Tunnel::Reaction, 5> Tunnel::kReactions{{
    {SIGHUP, State::serving, &Tunnel::reload},
    {SIGTERM, State::serving, &Tunnel::stop},
    {SIGINT, State::serving, &Tunnel::stop},
    {SIGTERM, State::stopping, &Tunnel::end},
    {SIGINT, State::stopping, &Tunnel::end},
}};

Tunnel::Tunnel(const TunnelOptions& options, std::shared_ptr<const Credentials> credentials,
               Signals signals, Entrance entrance)
    : options_(options),
      credentials_(std::move(credentials)),
      signals_(std::move(signals)),
      targets_(options.targets, options.order, options.connect_timeout),
      acceptor_(std::move(entrance.sockets)),
      names_(std::move(entrance.names)) {}

int Tunnel::run() {
    if (signals_.fd() < 0) return complain_of_system("signalfd");
    const std::array others{signals_.fd(), finished_.fd()};
    int exit_code = 0;
    sd_notify(0, "READY=1");
    while (state_ != State::over) {
        if (!acceptor_.wait(others, is_full(), patience())) {
            exit_code = complain_of_system("poll");
            break;
        }
        reap();
        follow_signals();
        end_idle();
        if (state_ == State::serving) accept();
        const bool time_is_up = running_.empty() || Clock::now() >= deadline_;
        if (state_ == State::stopping && time_is_up) end();
    }
    break_off_all();
    if (!running_.empty()) _exit(exit_code);
    return exit_code;
}

bool Tunnel::is_full() const {
    return running_.size() >= options_.max_connections;
}

// How long nothing needs to be looked at, if nothing happens.
std::optional<milliseconds> Tunnel::patience() const {
    std::optional<milliseconds> result;
    if (options_.idle.count() > 0 && !running_.empty()) {
        result = std::clamp(options_.idle / 4, milliseconds{10}, milliseconds{1000});
    }
    if (state_ == State::stopping) {
        const auto left = std::chrono::ceil<milliseconds>(deadline_ - Clock::now());
        result = std::clamp(left, milliseconds{0}, result.value_or(milliseconds{60'000}));
    }
    return result;
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
    sd_notify(0, "STOPPING=1");
    names_.clear();  // while we still listen nobody takes one for left behind
    acceptor_.close();
    state_ = State::stopping;
    deadline_ = Clock::now() + options_.grace;
    if (!running_.empty()) {
        say("stopping, connections that go on: " + std::to_string(running_.size()));
    }
}

void Tunnel::end() {
    state_ = State::over;
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
    const std::size_t before = running_.size();
    try {
        auto connection = std::make_unique<TunnelConnection>(
            TunnelShare{options_, targets_, finished_}, credentials_, std::move(accepted));
        Running& running = running_.emplace_back(Running{std::move(connection), {}});
        running.thread = std::thread([it = running.connection.get()] { it->run(); });
    } catch (const std::exception& shortage) {
        running_.resize(before);
        say(peer + ": " + shortage.what());
        acceptor_.rest();
    }
}

void Tunnel::reap() {
    finished_.clear();
    std::erase_if(running_, [](Running& each) {
        if (!each.connection->is_over()) return false;
        each.thread.join();
        return true;
    });
}

void Tunnel::end_idle() {
    if (options_.idle.count() == 0) return;
    const auto then = Clock::now() - options_.idle;
    const Failure why{ETIMEDOUT, "idle for too long"};
    for (const Running& each : running_) each.connection->break_off_if_idle_since(then, why);
}

// Both sides have been told when this returns. A thread that makes a handshake, or looks up a name,
// may take longer; nothing depends on its end any more.
void Tunnel::break_off_all() {
    const Failure why{ECANCELED, "broken off: the tunnel ends"};
    for (const Running& each : running_) each.connection->break_off(why);
    const std::array others{finished_.fd()};
    const auto deadline = Clock::now() + kLastWait;
    while (!running_.empty() && Clock::now() < deadline) {
        const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
        if (!acceptor_.wait(others, true, std::max(left, milliseconds{0}))) break;
        reap();
    }
}

}  // namespace tlsfs::cmd
