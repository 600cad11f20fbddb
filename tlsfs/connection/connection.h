// SPDX-License-Identifier: MIT
// A connection, as the fronts see it: what its ctl, its data and its small files do, and how long
// it lives.
//
// What it consists of: ctl (the lines) over endpoint, which is first a setup and then a channel.
// One lock guards all of it. Nothing waits under it but a handshake whose key is in tlskeyd
// (connection/handshake). Order: this lock, then the one of DataStream, then the relay's.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "connection/ctl.h"
#include "connection/endpoint.h"
#include "connection/events.h"
#include "connection/pem_files.h"
#include "core/policy.h"

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

class Connection final : public ConnectionEvents {
 public:
    using Number = std::uint32_t;

    // `policy` holds for its whole life. `kernel`: the module's half, if it was opened there.
    Connection(Number number, Caller owner, const Services& services,
               std::shared_ptr<const Policy> policy, std::unique_ptr<KernelEnd> kernel);
    ~Connection() override;

    [[nodiscard]] Number number() const { return endpoint_.facts().number; }
    [[nodiscard]] const Caller& owner() const { return endpoint_.facts().owner; }

    // Life
    [[nodiscard]] bool opened();    // one more open ctl or data; false: too late, it is over
    [[nodiscard]] bool released();  // one less; true: it was the last, and the connection is over
    void abandon(int code);         // the companion stops: everybody waiting gets `code`
    void signalled();               // answers every parked request whose caller was interrupted

    // ctl
    void ctl(std::unique_ptr<CtlRequest> request);
    // From now on `client` and `server` do all that goes before the first record, and no more.
    void make_trial();
    [[nodiscard]] Result<> attach(UniqueFd read, UniqueFd write);
    [[nodiscard]] std::uint32_t poll_ctl(const void* file, std::unique_ptr<Poller> poller);
    void forget_poller(const void* file);

    // ca, cert and key. `begin` starts over unless `append`; `finish` is the last chance to refuse.
    [[nodiscard]] Result<> pem_begin(PemFile file, bool append);
    [[nodiscard]] Result<> pem_write(PemFile file, std::span<const char> text);
    [[nodiscard]] Result<> pem_finish(PemFile file);

    // The plain side (connection/user_channel).
    [[nodiscard]] Result<> open_data();
    // EOPNOTSUPP: there are none here.
    [[nodiscard]] Result<UniqueFd> data_socket();
    // Once open_data() has succeeded.
    [[nodiscard]] DataStream& data() { return endpoint_.user()->data(); }
    void let_go();  // whoever stood behind a given plain side is gone; Relay::let_go()
    void watch(std::shared_ptr<StateWatcher> watcher);

    // The module's half
    [[nodiscard]] bool data_is_ours();       // not the kernel's device
    void adopt(const StatusFields& facts);   // established before this companion was
    void absorb(std::string_view messages);  // handshake messages that the kernel received

    [[nodiscard]] std::string status();
    [[nodiscard]] std::string stats();
    [[nodiscard]] Result<std::string> peer();

    // ConnectionEvents
    void ready(int fd) override;
    void dialled(const std::shared_ptr<Cancellation>& attempt, Result<UniqueFd> outcome) override;
    void dial_timed_out() override;
    void continue_handshake() override;
    void handshake_timed_out() override;
    void channel_changed() override;

 private:
    void plain_is_over(bool told);  // takes the lock

    // These need lock_.
    [[nodiscard]] Setup* fresh_setup();
    void rearm();

    const Services& services_;
    const std::shared_ptr<const Policy> policy_;

    std::mutex lock_;  // guards all below
    Endpoint endpoint_;
    Ctl ctl_;
    std::shared_ptr<StateWatcher> watcher_;
    State told_ = State::established;  // what the watcher knows
    bool over_ = false;                // the last close has been
};

}  // namespace tlsfs
