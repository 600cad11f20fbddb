// SPDX-License-Identifier: MIT
// One end of a TLS connection: first its setup, then a channel, and all the time what is known of
// it. Not synchronised: the connection's lock guards it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "connection/answers.h"
#include "connection/channel.h"
#include "connection/events.h"
#include "connection/facts.h"
#include "connection/kernel_end.h"
#include "connection/services.h"
#include "connection/setup.h"
#include "connection/user_channel.h"

namespace tlsfs {

enum class Progress : std::uint8_t {
    done,
    waiting,  // until the connection hears how it ended
    ended,    // done, and with it a direction or all of the connection
};

class Endpoint {
 public:
    // `kernel`: the module's half, if the connection was opened there.
    Endpoint(const Services& services, ConnectionEvents& events, std::uint32_t number, Caller owner,
             Settings first, std::unique_ptr<KernelEnd> kernel);

    [[nodiscard]] const Services& services() const { return services_; }
    [[nodiscard]] Facts& facts() { return facts_; }
    [[nodiscard]] const Facts& facts() const { return facts_; }
    [[nodiscard]] State state() const { return facts_.state(); }
    [[nodiscard]] KernelEnd* kernel() { return kernel_.get(); }
    [[nodiscard]] Setup* setup() { return setup_.get(); }        // null: it is over
    [[nodiscard]] Channel* channel() { return channel_.get(); }  // never reset
    [[nodiscard]] UserChannel* user() { return channel_ ? channel_->user() : nullptr; }
    [[nodiscard]] bool in_kernel() { return channel_ && channel_->user() == nullptr; }

    [[nodiscard]] Result<Progress> begin_handshake(Role role, const std::string& name);
    // How it ended; nothing: it goes on.
    [[nodiscard]] std::optional<Result<>> continue_handshake();
    [[nodiscard]] tl::unexpected<Error> fail_handshake(const Error& error);

    void adopt(const StatusFields& earlier);  // established before this companion was
    void absorb(std::string_view messages);   // handshake messages that the kernel received

    [[nodiscard]] Result<> hangup(Answers& answers);
    void release(Answers& answers);                      // after the last close
    void abandon(const Error& error, Answers& answers);  // the companion stops

    void refresh();  // the state follows what the channel found
    [[nodiscard]] std::string status();
    [[nodiscard]] std::string stats() const;
    [[nodiscard]] Result<std::string> peer() const;

 private:
    [[nodiscard]] Result<> establish();
    void tell_agreement();
    [[nodiscard]] Result<> choose_channel();
    [[nodiscard]] Result<> hand_over();
    [[nodiscard]] Result<> carry_here();

    const Services& services_;
    ConnectionEvents& events_;
    Facts facts_;
    const std::unique_ptr<KernelEnd> kernel_;
    std::unique_ptr<Setup> setup_;
    std::unique_ptr<Channel> channel_;
};

}  // namespace tlsfs
