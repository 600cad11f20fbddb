// SPDX-License-Identifier: MIT
// The file `ctl`: lines that are carried out in order, the one that waits, and those who poll. Not
// synchronised: the connection's lock guards it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "connection/answers.h"
#include "connection/endpoint.h"
#include "connection/verbs.h"
#include "core/ctl.h"

namespace tlsfs {

class Ctl {
 public:
    Ctl(Endpoint& endpoint, std::shared_ptr<const Policy> policy)
        : endpoint_(endpoint), verbs_(endpoint, std::move(policy)) {}

    void write(std::unique_ptr<CtlRequest> request, Answers& answers);
    [[nodiscard]] bool waits() const { return job_.has_value(); }
    // The line that waited is over; the lines behind it follow.
    void finish(Result<> outcome, Answers& answers);
    // The same where there may be none; and whoever polls is to look.
    void end(int code, Answers& answers);
    // A signal may have come for the writer. The wait ends; the handshake goes on, as connect(2)
    // does it.
    void signalled(Answers& answers);

    // The errno of a line that failed when nobody waited for it, unless another one waits now.
    [[nodiscard]] int unseen_failure() const { return job_ ? 0 : unseen_failure_; }

    [[nodiscard]] std::uint32_t poll(const void* file, std::unique_ptr<Poller> poller);
    void forget_poller(const void* file);

 private:
    // A write under way.
    struct Job {
        std::unique_ptr<CtlRequest> request;  // null once answered: then nobody waits for the end
        std::string rest;                     // the lines still to do
    };
    struct Polling {
        const void* file;  // one poller an open ctl
        std::unique_ptr<Poller> poller;
    };

    void run(Job job, Answers& answers);
    [[nodiscard]] Result<Progress> execute(std::string_view text, Verbs::Turn turn);
    [[nodiscard]] Result<> check_allowed(const ParsedLine& line) const;
    void park(Job job, Answers& answers);
    void succeed(Job job, Answers& answers);
    void fail(Job job, const Error& error, Answers& answers);
    void wake_pollers(Answers& answers);

    Endpoint& endpoint_;
    Verbs verbs_;
    std::optional<Job> job_;
    int unseen_failure_ = 0;
    std::vector<Polling> pollers_;
};

}  // namespace tlsfs
