// SPDX-License-Identifier: MIT
// A connection whose bytes the kernel carries: what is known of it after the hand-over.
#pragma once

#include <memory>

#include "connection/channel.h"
#include "connection/kernel_end.h"
#include "engine/record_stream.h"

namespace tlsfs {

class KernelChannel final : public Channel {
 public:
    // `handed_over`: what the kernel leaves to us, tickets and the chain. Null where an earlier
    // companion had it.
    KernelChannel(KernelEnd& kernel, std::unique_ptr<RecordStream> handed_over)
        : kernel_(kernel), handed_over_(std::move(handed_over)) {}

    void absorb(std::string_view messages);  // handshake messages that the kernel received

    // The kernel does not tell when a connection ends: it is asked.
    [[nodiscard]] std::optional<ChannelState> look() const override;
    void add_stats(Stats& stats) const override;
    [[nodiscard]] Result<std::string> peer_chain() const override;
    void set_idle_limit(std::chrono::milliseconds) override {}
    [[nodiscard]] Result<> update_keys() override;
    [[nodiscard]] Result<> close(Answers& answers) override;
    [[nodiscard]] Result<> hangup(Answers& answers) override;
    void release(Answers&) override { handed_over_.reset(); }

 private:
    KernelEnd& kernel_;
    std::unique_ptr<RecordStream> handed_over_;
};

}  // namespace tlsfs
