// SPDX-License-Identifier: MIT
// What the verbs of ctl do. Their grammar is core/ctl; connection/ctl has them done in order.
#pragma once

#include <memory>

#include "connection/endpoint.h"
#include "core/ctl.h"
#include "core/policy.h"

namespace tlsfs {

class Verbs {
 public:
    // What a line has at hand while it is carried out.
    struct Turn {
        const CtlRequest* request;  // null if the writer does not wait any more
        Answers& answers;
    };

    Verbs(Endpoint& endpoint, std::shared_ptr<const Policy> policy)
        : endpoint_(endpoint), policy_(std::move(policy)) {}

    // What was set so far; once that is over, what the policy sets.
    [[nodiscard]] Choices choices() const;
    // The state allows it.
    [[nodiscard]] Result<Progress> carry_out(const Command& command, Turn turn);

 private:
    [[nodiscard]] Result<Progress> apply(const command::Fd& fd, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Plain& plain, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Dial& target, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Set& line, Turn);
    [[nodiscard]] Result<Progress> apply(const command::Client& client, Turn);
    [[nodiscard]] Result<Progress> apply(const command::Server&, Turn);
    [[nodiscard]] Result<Progress> apply(const command::KeyUpdate&, Turn);
    [[nodiscard]] Result<Progress> apply(const command::Close&, Turn turn);
    [[nodiscard]] Result<Progress> apply(const command::Hangup&, Turn turn);

    [[nodiscard]] Result<> check_choices(const Choices& next) const;
    [[nodiscard]] Result<> check_ready(Role role, const char* verb) const;
    [[nodiscard]] Result<> check_plain() const;
    [[nodiscard]] Result<ByteStream> take_stream(const char* verb, int read, int write, Turn turn);

    Endpoint& endpoint_;
    const std::shared_ptr<const Policy> policy_;
};

}  // namespace tlsfs
