// SPDX-License-Identifier: MIT
// A connection: what its ctl, its data and its small files do.
//
// Until the handshake is over the connection drives it; from then on its relay (channel/) carries
// the bytes, and the connection keeps what is known and what may be asked. One lock guards all of
// it and nothing waits under it. Order: this lock, then the one of DataStream, then the relay's.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "channel/relay.h"
#include "core/ctl.h"
#include "core/log.h"
#include "core/policy.h"
#include "core/settings.h"
#include "core/status.h"
#include "device/answers.h"
#include "device/data_stream.h"
#include "device/kernel_end.h"
#include "device/request.h"
#include "device/services.h"
#include "engine/pem_judge.h"
#include "engine/record_stream.h"
#include "io/reactor.h"

namespace tlsfs {

// Somebody who wants to know what becomes of a connection. Called with no lock held.
struct StateWatcher {
    StateWatcher() = default;
    StateWatcher(const StateWatcher&) = delete;
    StateWatcher& operator=(const StateWatcher&) = delete;
    virtual ~StateWatcher() = default;
    virtual void changed(const std::string& status) = 0;  // it has taken effect on the plain side
    virtual bool over() = 0;  // true: somebody has been told how it ended
};

class Connection final : public Reactor::Handler,
                         public Relay::Listener,
                         public DataStream::Connection,
                         public std::enable_shared_from_this<Connection> {
 public:
    using Number = std::uint32_t;

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
    // From now on `client` and `server` do all that goes before the first record, and no more.
    void make_trial();
    [[nodiscard]] Result<> attach(UniqueFd read, UniqueFd write);
    [[nodiscard]] std::uint32_t poll_ctl(const void* file, std::unique_ptr<Poller> poller);

    // connection_pem.cc. `begin` starts over unless `append`; `finish` is the last chance to
    // refuse.
    [[nodiscard]] Result<> pem_begin(PemFile file, bool append);
    [[nodiscard]] Result<> pem_write(PemFile file, std::span<const char> text);
    [[nodiscard]] Result<> pem_finish(PemFile file);

    // connection_plain.cc: the plain side. There is one; asking for another kind is EBUSY.
    [[nodiscard]] Result<> open_data();  // the file
    // The program's end of a TCP pair that has the transport's addresses. EOPNOTSUPP: there are
    // none here.
    [[nodiscard]] Result<UniqueFd> data_socket();
    // Of the file, once open_data() has succeeded.
    [[nodiscard]] DataStream& data() { return *data_; }
    void forget_poller(const void* file);
    void watch(std::shared_ptr<StateWatcher> watcher);
    void let_go();  // whoever stood behind a given plain side is gone; Relay::let_go()
    // Relay::Listener
    void channel_changed() override;
    void plain_moved() override;
    // DataStream::Connection
    void relay() override;
    [[nodiscard]] int end_code() override;
    [[nodiscard]] int write_code() override;

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
    struct Pem {
        bool unjudged = false;  // bytes were written that nobody has judged
        bool bad = false;
    };
    struct Polling {
        const void* file;  // one poller an open ctl
        std::unique_ptr<Poller> poller;
    };
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
    [[nodiscard]] Result<Progress> apply(const command::Plain& plain, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Idle& idle, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Dial& target, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Version& version, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Ciphers& ciphers, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Groups& groups, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Alpn& alpn, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Verify& verify, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Allow& allow, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Timeout& timeout, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Session& session, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Engine& engine, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Client& client, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Server&, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::KeyUpdate&, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Close&, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Hangup&, Turn turn);

    [[nodiscard]] Result<Carrier> take_stream(const char* verb, int read, int write, Turn turn);
    [[nodiscard]] Result<Carrier> adopt(UniqueFd read, UniqueFd write);
    [[nodiscard]] Result<> set_carrier(UniqueFd read, UniqueFd write);
    void give_back(UniqueFd fd);
    void dialled(const std::shared_ptr<Cancellation>& attempt,
                 Result<UniqueFd> outcome);  // takes the lock
    void dial_timed_out();                   // takes the lock

    // connection_handshake.cc
    [[nodiscard]] Result<Progress> start_handshake(Role role, const std::string& name);
    [[nodiscard]] Result<std::unique_ptr<Tls>> prepare_tls(Role role, const std::string& name);
    [[nodiscard]] Result<> check_pems() const;
    void continue_handshake(Answers& answers);
    [[nodiscard]] Result<> established();
    void handshake_failed(const Error& error);
    void timed_out();  // takes the lock

    [[nodiscard]] Result<> check_plain_side(const char* what) const;
    [[nodiscard]] Result<> begin_plain(PlainSide plain);
    void plain_is_over(bool told);  // takes the lock
    [[nodiscard]] std::string status_locked();
    [[nodiscard]] int gone_code() const;
    [[nodiscard]] std::uint32_t ctl_events() const;
    void wake_pollers(Answers& answers);

    [[nodiscard]] Result<> choose_engine();
    void refresh();
    void refresh_from_relay();
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
    void begin_relay();
    void rearm();

    const Number number_;
    const Caller owner_;
    const Services services_;
    const std::shared_ptr<const Policy> policy_;

    std::mutex lock_;  // guards all below
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
    std::unique_ptr<RecordStream> stream_;  // during the handshake
    std::shared_ptr<Relay> relay_;          // after it, with engine user; never reset
    Carrier given_plain_;                   // said before the handshake is over
    std::unique_ptr<DataStream> data_;      // the file data, once it was opened; never reset
    std::atomic<DataStream*> data_stream_ = nullptr;  // data_, for who has no lock
    std::atomic<int> end_code_ = 0;                   // hangup, or the companion's end: an errno
    std::shared_ptr<StateWatcher> watcher_;
    State told_ = State::established;  // what the watcher knows
    bool trial_ = false;
    bool held_by_plain_ = false;  // a data socket or a given descriptor counts as one opened()
    Stats stats_;
    std::unique_ptr<KernelEnd> kernel_;
    std::unique_ptr<RecordStream> handed_over_;  // what the kernel leaves to us: tickets, the chain
    bool in_kernel_ = false;
    bool left_to_us_ = false;

    std::optional<Job> job_;
    int unseen_failure_ = 0;  // the errno of a job that nobody waited for
    std::vector<Polling> pollers_;
    Reactor::Watch read_watch_, write_watch_;  // during the handshake
    int opens_ = 0;
    bool over_ = false;  // the last close has been
};

}  // namespace tlsfs
