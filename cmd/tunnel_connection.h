// SPDX-License-Identifier: MIT
// One connection of a tunnel, from the moment that it was accepted.
//
// How it works. What has to be done is a list of steps, one for each role. Each step goes on as far
// as it can and says what it waits for. The last one waits for the end of a connection that the
// companion carries already: all that is ours then is a guest's socket, which tells the causes.
//
//     client: connect -> STARTTLS -> open with `plain` -> watch
//             with STARTTLS:         open bare -> greet -> hand over `plain` -> watch
//     server: PROXY header -> STARTTLS -> open bare -> connect -> PROXY header -> take the greeting
//             -> hand over `plain` -> watch
//
// Until it is handed over the plain socket is one whose close is a reset, so that nothing that ends
// the tunnel looks like the end of a stream. Afterwards the companion sees to that.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "acceptor.h"
#include "attach_client.h"
#include "connecting.h"
#include "core/result.h"
#include "credentials.h"
#include "event_loop.h"
#include "proxy_reader.h"
#include "starttls.h"
#include "tunnel_options.h"

namespace tlsfs::cmd {

// What all connections of a tunnel have in common. Outlives them.
struct TunnelShare {
    const TunnelOptions& options;
    Targets& targets;
    EventLoop& loop;
};

class TunnelConnection final : public EventLoop::Handler {
 public:
    TunnelConnection(const TunnelShare& share, std::shared_ptr<const Credentials> credentials,
                     Accepted accepted);

    // Goes on as far as it can. Says what went wrong.
    void ready() override;

    [[nodiscard]] bool is_over() const { return over_; }

    // The companion carries it: it goes on without us.
    [[nodiscard]] bool is_handed_over() const;

    // Ends it soon. To neither side it looks as if its stream had ended properly.
    void break_off(const std::string& why);

 private:
    // Nothing: the step is done.
    using Outcome = Result<std::optional<Wants>>;
    struct Step {
        bool (TunnelConnection::*wanted)() const;  // nullptr: always
        Result<> (TunnelConnection::*begin)();
        Outcome (TunnelConnection::*go)();
    };
    static const std::array<Step, 6> kClientSteps;
    static const std::array<Step, 8> kServerSteps;
    static const std::array<Step, 1> kLastSteps;

    [[nodiscard]] std::span<const Step> steps() const;
    void go_on();
    [[nodiscard]] Outcome run_step();
    void fail(const std::string& cause);
    void hang_up();

    [[nodiscard]] bool takes_proxy_header() const;
    [[nodiscard]] bool tells_proxy_header() const;
    [[nodiscard]] bool negotiates() const;

    [[nodiscard]] Result<> begin_proxy_header();
    [[nodiscard]] Outcome take_proxy_header();
    [[nodiscard]] Result<> begin_connect();
    [[nodiscard]] Outcome connect();
    [[nodiscard]] Result<> begin_starttls();
    [[nodiscard]] Result<> begin_greeting();
    [[nodiscard]] Outcome talk();
    [[nodiscard]] Result<> begin_open();
    [[nodiscard]] Outcome open();
    [[nodiscard]] Result<> greet();
    [[nodiscard]] Result<> introduce();
    [[nodiscard]] Outcome nothing_more();
    [[nodiscard]] Result<> begin_hand_over();
    [[nodiscard]] Outcome hand_over();
    [[nodiscard]] Result<> begin_watch();
    [[nodiscard]] Outcome watch();
    [[nodiscard]] Result<> begin_hang_up();
    [[nodiscard]] Outcome wait_for_end();

    [[nodiscard]] bool opens_bare() const;
    [[nodiscard]] UniqueFd& transport();
    [[nodiscard]] UniqueFd& plain();
    [[nodiscard]] Result<> allow(std::chrono::milliseconds time);
    [[nodiscard]] Outcome wait_for(int fd, const char* what) const;
    void announce() const;
    void complain(const std::string& cause) const;

    const TunnelShare& share_;
    std::shared_ptr<const Credentials> credentials_;
    UniqueFd accepted_;
    UniqueFd connected_;
    Endpoints endpoints_;
    std::string peer_;
    const Target* target_ = nullptr;

    std::size_t step_ = 0;
    bool begun_ = false;     // the step
    bool hangs_up_ = false;  // kLastSteps are run
    bool over_ = false;
    Deadline deadline_{};  // of the step

    ProxyReader proxy_reader_;
    std::optional<Connecting> connecting_;
    std::optional<StartTlsTalk> talk_;
    std::optional<internal::AttachClient> guest_;
    int attempts_ = 0;                // to open
    std::optional<unsigned> number_;  // of the connection, once it is open
    std::string status_;              // as it was then

    EventLoop::Interest interest_;  // ends before the descriptors that it names
};

}  // namespace tlsfs::cmd
