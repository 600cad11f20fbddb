// SPDX-License-Identifier: MIT
#include "channel/linger.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>

namespace tlsfs {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstLook{1};
constexpr milliseconds kAfterAlert{500};
// A peer may delay an acknowledgement by 40 ms or more. What was sent this long ago has arrived, or
// will be sent again by the kernel after close(2).
constexpr milliseconds kUnacknowledged{10};
// Lingering transports belong to no user's limit any more, so they have limits of their own.
constexpr int kMaxLingering = 16384;
constexpr std::size_t kMaxBytes = 256U << 20U;

std::atomic<int> lingering = 0;
std::atomic<std::size_t> lingering_bytes = 0;

class Lingering {
 public:
    Lingering(ByteStream transport, ByteQueue unsent, bool after_alert)
        : transport_(std::move(transport)),
          unsent_(std::move(unsent)),
          bytes_(unsent_.size()),
          after_alert_(after_alert) {
        ++lingering;
        lingering_bytes += bytes_;
    }
    Lingering(const Lingering&) = delete;
    Lingering& operator=(const Lingering&) = delete;
    ~Lingering() {
        // The peer's answer to our close_notify may have come just now.
        transport_.discard_input();
        lingering_bytes -= bytes_;
        --lingering;
    }

    // True when it is over: all was delivered, or never will be.
    [[nodiscard]] bool look() {
        const bool moved = flush();
        peer_ended_ =
            transport_.discard_input() || peer_ended_;  // a peer stuck in writing would not read
        if (unsent_.empty() && is_delivered()) return true;
        if (moved) {
            pause_ = kFirstLook;
            still_ = milliseconds{0};
        } else if (waited_ > milliseconds{0}) {
            pause_ = std::min(2 * pause_, kLongestPause);
        }
        return still_ >= kLongestStill || waited_ >= kLongestKept || lingering > kMaxLingering ||
               lingering_bytes > kMaxBytes;
    }

    // Until the next look, from now.
    [[nodiscard]] milliseconds next() {
        still_ += pause_;
        waited_ += pause_;
        if (unsent_.empty()) sent_for_ += pause_;
        return pause_;
    }

 private:
    // True if bytes went out.
    bool flush() {
        bool moved = false;
        while (!unsent_.empty()) {
            const Transfer sent = transport_.write(unsent_.bytes());
            if (sent.outcome == Transfer::Outcome::would_block) break;
            moved = true;
            const bool broken = sent.outcome != Transfer::Outcome::bytes;
            peer_ended_ = peer_ended_ || broken;
            unsent_.consume(broken ? unsent_.size() : sent.count);
        }
        return moved;
    }

    [[nodiscard]] bool is_delivered() const {
        if (after_alert_) return peer_ended_ || sent_for_ >= kAfterAlert;
        return transport_.all_delivered() ||
               (transport_.all_sent() && sent_for_ >= kUnacknowledged);
    }

    ByteStream transport_;
    ByteQueue unsent_;
    const std::size_t bytes_;
    const bool after_alert_;
    bool peer_ended_ = false;
    milliseconds pause_ = kFirstLook;
    milliseconds still_{0};     // how long nothing has gone out
    milliseconds sent_for_{0};  // how long the kernel has had all of it
    milliseconds waited_{0};
};

void go_on(Reactor& reactor, const std::shared_ptr<Lingering>& one) {
    if (one->look()) return;  // the last reference closes it
    reactor.after(one->next(), [&reactor, one] { go_on(reactor, one); });
}

}  // namespace

void linger(Reactor& reactor, ByteStream transport, ByteQueue unsent, bool after_alert) {
    go_on(reactor,
          std::make_shared<Lingering>(std::move(transport), std::move(unsent), after_alert));
}

bool anything_lingers() {
    return lingering > 0;
}

}  // namespace tlsfs
