// SPDX-License-Identifier: MIT
// A connection: what its ctl, its data and its small files do.
//
// One lock guards all of it and nothing waits under it. A request that cannot be answered yet is
// parked here, in the order of its coming, and finished by whichever thread finds the carrier
// ready.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/ctl.h"
#include "core/log.h"
#include "core/policy.h"
#include "core/settings.h"
#include "core/status.h"
#include "device/answers.h"
#include "device/kernel_end.h"
#include "device/request.h"
#include "device/services.h"
#include "engine/pem_judge.h"
#include "engine/record_stream.h"
#include "io/reactor.h"

namespace tlsfs {

class Connection final : public Reactor::Handler, public std::enable_shared_from_this<Connection> {
 public:
    using Number = std::uint32_t;
    static constexpr std::size_t kMaxPem = 1U << 20U;  // bytes

    // `policy` holds for its whole life. `kernel`: the module's half, if it was opened there.
    Connection(Number number, Caller owner, const Services& services,
               std::shared_ptr<const Policy> policy, std::unique_ptr<KernelEnd> kernel);
    ~Connection() override;

    [[nodiscard]] Number number() const { return number_; }
    [[nodiscard]] const Caller& owner() const { return owner_; }

    // connection.cc: life
    [[nodiscard]] bool opened();    // one more open ctl or data; false: too late, it is over
    [[nodiscard]] bool released();  // one less; true: it was the last, and the connection is over
    void abandon(int code);         // the companion stops: everybody waiting gets `code`
    void signalled();               // answers every parked request whose caller was interrupted

    // connection_ctl.cc
    void ctl(std::unique_ptr<CtlRequest> request);
    [[nodiscard]] Result<> attach(UniqueFd read, UniqueFd write);
    [[nodiscard]] std::uint32_t poll_ctl(const void* file, std::unique_ptr<Poller> poller);

    // connection_pem.cc. `begin` starts over unless `append`; `finish` is the last chance to
    // refuse.
    [[nodiscard]] Result<> pem_begin(PemFile file, bool append);
    [[nodiscard]] Result<> pem_write(PemFile file, std::span<const char> text);
    [[nodiscard]] Result<> pem_finish(PemFile file);

    // connection_data.cc
    [[nodiscard]] Result<> open_data();
    void read(std::unique_ptr<ReadRequest> request);
    void write(std::unique_ptr<WriteRequest> request);
    // POLLIN, POLLOUT … as they are now. The poller is kept until one of `wanted` has come.
    [[nodiscard]] std::uint32_t poll_data(const void* file, std::uint32_t wanted,
                                          std::unique_ptr<Poller> poller);
    void forget_poller(const void* file);

    // connection_kernel.cc
    [[nodiscard]] bool data_is_ours();       // not the kernel's device
    void adopt(const StatusFields& facts);   // established before this companion was
    void absorb(std::string_view messages);  // handshake messages that the kernel received

    [[nodiscard]] std::string status();
    [[nodiscard]] std::string stats();
    [[nodiscard]] Result<std::string> peer();

    void ready(int fd) override;

 private:
    // A ctl write under way.
    struct Job {
        std::unique_ptr<CtlRequest> request;  // null once answered: then nobody waits for the end
        std::string rest;                     // the lines still to do
    };
    struct ParkedWrite {
        std::unique_ptr<WriteRequest> request;
        std::vector<std::byte> data;  // empty once encrypted: then it waits for the carrier only
    };
    struct Pem {
        bool unjudged = false;  // bytes were written that nobody has judged
        bool bad = false;
    };
    struct Polling {
        const void* file;      // one poller an open file
        std::uint32_t wanted;  // POLLIN, POLLOUT …; errors and the end are always wanted
        std::unique_ptr<Poller> poller;
    };
    static constexpr std::uint32_t kReadEvents = POLLIN | POLLRDNORM | POLLRDHUP;
    static constexpr std::uint32_t kWriteEvents = POLLOUT | POLLWRNORM;
    enum class Progress : std::uint8_t { done, waiting };
    // What a ctl line has at hand while it is carried out.
    struct Turn {
        const CtlRequest* request;  // null if the writer does not wait any more
        Answers& answers;
    };

    // All below need lock_.
    [[nodiscard]] Result<Progress> execute(std::string_view text, const CtlRequest* request,
                                           Answers& answers);
    [[nodiscard]] Result<Progress> carry_out(const ParsedLine& line, Turn turn);
    [[nodiscard]] Result<> check_allowed(const ParsedLine& line) const;
    [[nodiscard]] Result<> check_policy(const Command& command) const;
    void run(Job job, Answers& answers);
    void finish_job(Result<> outcome, Answers& answers);
    void fail_job(Job job, int code, Answers& answers);

    [[nodiscard]] Result<Progress> apply(const command::Fd& fd, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Dial& target, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Version& version, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Ciphers& ciphers, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Groups& groups, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Alpn& alpn, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Verify& verify, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Timeout& timeout, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Session& session, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Engine& engine, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Client& client, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Server&, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::KeyUpdate&, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Close&, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Hangup&, Turn turn);

    [[nodiscard]] Result<> set_carrier(UniqueFd read, UniqueFd write);
    void give_back(UniqueFd fd);
    void dialled(const std::shared_ptr<Cancellation>& attempt,
                 Result<UniqueFd> outcome);  // takes the lock
    void dial_timed_out();                   // takes the lock

    // connection_handshake.cc
    [[nodiscard]] Result<Progress> start_handshake(Role role, const std::string& name);
    [[nodiscard]] Result<> check_pems() const;
    void continue_handshake(Answers& answers);
    [[nodiscard]] Result<> established();
    void handshake_failed(const Error& error);
    void timed_out();  // takes the lock

    void serve_readers(std::unique_lock<std::mutex>& guard);
    void serve_writers(Answers& answers);
    void tell_others(State before, Answers& answers);
    void start_write(std::unique_ptr<WriteRequest> request, Answers& answers);
    void answer_and_write(std::unique_ptr<WriteRequest> request);
    static void answer_interrupted(ParkedWrite& parked, Answers& answers);
    [[nodiscard]] Step read_step(std::span<std::byte> into);
    void note(const Step& step);
    void note_write_error();
    [[nodiscard]] int gone_code() const;
    [[nodiscard]] std::uint32_t data_events(std::uint32_t wanted);
    [[nodiscard]] std::uint32_t ctl_events() const;
    void keep_poller(Polling polling);
    void forget_poller_locked(const void* file);
    [[nodiscard]] bool polled_for(std::uint32_t events) const;
    void wake_ready_pollers(Answers& answers);
    void wake_pollers(Answers& answers);

    [[nodiscard]] Result<> choose_engine();
    void refresh();
    void add_kernel_stats(Stats& stats) const;

    // connection_log.cc. What the log may know: verbs, states and causes; no word of a line.
    void log(LogLevel level, std::string_view what) const;
    void log_state(State before) const;
    void log_refusal(std::string_view verb, const Error& error) const;
    void log_established() const;

    void step(Event event);
    void fail(const Error& error);
    void set_failure(const Error& error);
    void drop_stream();
    void fail_waiting(int code, Answers& answers);
    void rearm();

    const Number number_;
    const Caller owner_;
    const Services services_;
    const std::shared_ptr<const Policy> policy_;

    std::mutex
        lock_;  // guards all below. Order: this, then the context cache's, then the reactor's
    State state_ = State::fresh;
    Settings settings_;
    Pem pem_[3];
    Carrier carrier_;           // until the handshake begins; then the stream has it
    std::string default_name_;  // the dialled host
    StatusFields facts_;
    std::optional<Error> failure_;  // why the state is Error
    std::shared_ptr<Cancellation> dialling_;
    std::chrono::milliseconds dial_time_{0};
    std::chrono::steady_clock::time_point started_;
    Reactor::TimerId timer_ = 0;
    std::unique_ptr<RecordStream> stream_;  // engine user, and every handshake
    Stats stats_;
    std::unique_ptr<KernelEnd> kernel_;
    std::unique_ptr<RecordStream> handed_over_;  // what the kernel leaves to us: tickets, the chain
    bool in_kernel_ = false;
    bool left_to_us_ = false;

    std::optional<Job> job_;
    int unseen_failure_ = 0;  // the errno of a job that nobody waited for
    std::deque<std::unique_ptr<ReadRequest>> readers_;
    std::deque<ParkedWrite> writers_;
    std::vector<Polling> pollers_;
    bool owes_writable_ = false;  // somebody was told EAGAIN, and may be polling
    Reactor::Watch read_watch_, write_watch_;
    int opens_ = 0;
    bool over_ = false;  // the last close has been
};

}  // namespace tlsfs
