// SPDX-License-Identifier: MIT
// A connection whose bytes this process carries: its relay (channel/relay) and its plain side.
// There is one plain side; asking for another one is EBUSY.
#pragma once

#include <atomic>
#include <memory>

#include "connection/channel.h"
#include "connection/data_stream.h"
#include "connection/events.h"
#include "connection/facts.h"
#include "connection/services.h"

namespace tlsfs {

class UserChannel final : public Channel, private Relay::Listener, public DataStream::Backend {
 public:
    // `stream`: its handshake is over. `events` is the connection, which keeps this until its own
    // end.
    UserChannel(const Services& services, ConnectionEvents& events, Facts& facts,
                std::unique_ptr<RecordStream> stream);

    [[nodiscard]] UserChannel* user() override { return this; }
    [[nodiscard]] std::optional<ChannelState> look() const override { return relay_->look(); }
    void add_stats(Stats& stats) const override { relay_->add_stats(stats); }
    [[nodiscard]] Result<std::string> peer_chain() const override { return relay_->peer_chain(); }
    void set_idle_limit(std::chrono::milliseconds limit) override { relay_->set_idle_limit(limit); }
    [[nodiscard]] Result<> update_keys() override { return relay_->update_keys(); }
    [[nodiscard]] Result<> close(Answers& answers) override;
    [[nodiscard]] Result<> hangup(Answers& answers) override;
    void release(Answers& answers) override;
    void abandon(const Error& error, Answers& answers);  // the companion stops
    void signalled();  // answers every parked request whose caller was interrupted

    // The plain side.
    [[nodiscard]] Result<> check_free(const char* what) const;
    [[nodiscard]] Result<> take_plain(ByteStream given);
    [[nodiscard]] Result<> open_data();  // the file
    [[nodiscard]] Result<UniqueFd> data_socket();
    // Of the file, once open_data() has succeeded. Needs no lock.
    [[nodiscard]] DataStream& data() { return *data_stream_; }
    // Whoever stood behind a given plain side is gone. Call it without the connection's lock.
    void let_go() { relay_->let_go(); }
    [[nodiscard]] bool is_over() const { return relay_->look().over; }
    // The program has closed its end. True: that held the connection until now.
    [[nodiscard]] bool stop_holding() { return std::exchange(holds_, false); }

 private:
    void plain_moved() override;
    void channel_changed() override { events_.channel_changed(); }
    void relay() override { relay_->work(); }
    [[nodiscard]] int end_code() override;
    [[nodiscard]] int write_code() override;

    [[nodiscard]] Result<> begin(PlainSide plain);
    void fail_waiting(int code, Answers& answers);
    [[nodiscard]] tl::unexpected<Error> gone(const char* what) const;

    const Services& services_;
    ConnectionEvents& events_;
    Facts& facts_;
    const std::shared_ptr<Relay> relay_;
    std::unique_ptr<DataStream> data_;                // the file data, once it was opened
    std::atomic<DataStream*> data_stream_ = nullptr;  // data_, for who has no lock
    std::atomic<int> end_code_ = 0;                   // hangup, or the companion's end: an errno
    bool holds_ = false;  // a data socket or a given descriptor counts as one open file
};

}  // namespace tlsfs
