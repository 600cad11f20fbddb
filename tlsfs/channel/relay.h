// SPDX-License-Identifier: MIT
// The engine "user": a relay between a transport and a plain side.
//
// How it works. What is read from the plain side is encrypted and sent; what is received is
// decrypted and written to the plain side. Whichever thread finds something to do does it: one of
// the reactor's, or one that has just put bytes into the plain side itself. One thread at a time
// works on a relay; another one that comes meanwhile leaves a note (again_) and goes. After each
// piece the thread stays awake for a moment, because the answer to a small message comes faster
// than a sleeping thread wakes.
//
// Endings. Each direction ends once.
//
// Outward: at the end of the plain side's input, or after close(), close_notify is sent behind
// everything that was read. A reset of a given plain side is a hangup, without close_notify.
//
// Inward: after close_notify the program reads 0, behind everything received. After a failure it
// reads ECONNRESET there, where its descriptor can say that.
//
// When the program has closed its end, what it wrote still goes out, then the transport lingers
// (channel/linger). The relay's timer keeps it alive until then, and gives up when nothing moves
// for 30 seconds.
//
// Limits. A stalled side makes the relay hold at most kPiece bytes of plaintext and
// bounds::kUnsent plus one piece of ciphertext. A busy relay gives its thread back after
// kRounds pieces.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "channel/plain_side.h"
#include "core/result.h"
#include "core/status.h"
#include "engine/record_stream.h"
#include "io/byte_queue.h"
#include "io/reactor.h"

namespace tlsfs {

// What became of a connection since its handshake.
struct ChannelState {
    bool read_over = false;   // inward is over, and the plain side has all that came before
    bool write_over = false;  // outward is over: close_notify was sent, or the program is gone
    bool over = false;        // the program is gone; what is left goes out by itself
    std::optional<Error> failure;
    std::string why_over;  // over by something else than the program's close: one line
};

class Relay final : public Reactor::Handler, public std::enable_shared_from_this<Relay> {
 public:
    static constexpr std::size_t kPiece = 128U << 10U;  // bytes moved at once in each direction

    // Called with no lock of the relay's held, by the thread that works on it.
    struct Listener {
        Listener() = default;
        Listener(const Listener&) = delete;
        Listener& operator=(const Listener&) = delete;
        virtual ~Listener() = default;
        virtual void channel_changed() = 0;  // look() has something new to say
        virtual void plain_moved() = 0;  // a plain side of kind `file` has bytes, room or an end
    };

    // `stream`: its handshake is over.
    Relay(Reactor& reactor, std::unique_ptr<RecordStream> stream, std::weak_ptr<Listener> listener);
    ~Relay() override;

    // Nothing is received before there is a plain side. False: there is one, or the relay is over.
    [[nodiscard]] bool begin(PlainSide plain);
    // Hangs up when nothing has moved for so long; 0: never.
    void set_idle_limit(std::chrono::milliseconds limit);

    // The calls from here to release() may call the listener: hold no lock that it takes.
    //
    // Does what there is to do. For who has put bytes into the plain side, or taken some out.
    void work();
    void ready(int fd) override;

    void close();  // close_notify behind everything that is in the plain side
    void end(std::optional<Error> failure);  // at once, without close_notify; the program is reset
    void release();                          // the file `data` has been closed for the last time
    // Nobody is behind the plain side any more: nothing is read from it again. close_notify goes
    // behind what was read, if the peer has sent its own; else this is end().
    void let_go();
    [[nodiscard]] Result<> update_keys();

    [[nodiscard]] ChannelState look() const;
    void add_stats(Stats& stats) const;
    [[nodiscard]] std::string peer_chain() const;
    // Nothing where the transport is no TCP socket, or no longer ours.
    [[nodiscard]] std::optional<ByteStream::Addresses> addresses() const;

 private:
    static constexpr int kRounds = 16;

    enum class Out : std::uint8_t { open, closing, over };  // closing: close() has been said
    enum class In : std::uint8_t { open, closed, failed };

    struct Moved {
        bool any = false;    // bytes or an end
        bool plain = false;  // on the plain side
        Moved& operator|=(Moved other) {
            any = any || other.any;
            plain = plain || other.plain;
            return *this;
        }
    };

    void work_on(bool awake);
    void work_later();
    [[nodiscard]] bool stay_awake();
    void check_progress();

    // All below need lock_.
    [[nodiscard]] Moved step();
    [[nodiscard]] Moved outward();
    [[nodiscard]] Moved inward();
    [[nodiscard]] bool deliver();
    [[nodiscard]] Moved receive();
    void give_to_program(std::span<const std::byte> plaintext);
    [[nodiscard]] bool deliver_end();
    void end_outward(bool with_close_notify);
    void fail(Error error);
    void plain_broke(int code);
    void look_for_end();
    void drop_transport();
    void close_plain(bool with_reset);
    [[nodiscard]] bool is_over() const;
    void look_again_later();
    // Since when nothing has moved; for a program that has gone, not longer than it has been gone.
    [[nodiscard]] Reactor::Clock::time_point still_since() const {
        return std::max(last_moved_, gone_since_);
    }
    void watch_progress();
    void rearm();

    Reactor& reactor_;
    const std::weak_ptr<Listener> listener_;

    mutable std::mutex lock_;  // guards all below
    std::unique_ptr<RecordStream> stream_;
    PlainSide plain_;
    Out out_ = Out::open;
    In in_ = In::open;
    ByteQueue undelivered_;  // plaintext that the plain side did not take
    std::optional<Error> failure_;
    std::string why_over_;
    bool begun_ = false;
    bool released_ = false;       // nobody holds us but the timer, until the transport is dropped
    bool gone_ = false;           // the program has closed its end
    bool awaits_peer_ = false;    // gone, and only what the peer still says would be lost by it
    bool delivered_end_ = false;  // the program knows how inward ended, or there is no program
    bool dropped_ = false;        // the transport is no longer ours
    bool alert_sent_ = false;     // perhaps: reading failed, and what failed may have asked for one
    bool told_failure_ = false;   // the listener knows of failure_
    bool changed_ = false;        // the listener is to be told
    bool working_ = false;
    bool again_ = false;
    Reactor::Clock::time_point last_moved_, gone_since_;
    std::chrono::milliseconds idle_limit_{0}, pause_{1};
    Reactor::TimerId progress_timer_ = 0;
    Reactor::Watch read_watch_, write_watch_;              // the transport
    Reactor::Watch plain_read_watch_, plain_write_watch_;  // the plain side, unless it is a file
};

}  // namespace tlsfs
