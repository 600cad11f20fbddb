// SPDX-License-Identifier: MIT
#include "device/linger.h"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace tlsfs {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstLook{1};
// Acknowledgements come within a round trip, or delayed by about 40 ms; a slow peer's, later.
constexpr milliseconds kAcknowledged{42};
constexpr milliseconds kLongestPause{200};
constexpr milliseconds kNoProgress{30'000};
constexpr milliseconds kLongest{300'000};
// Streams that linger belong to no user's limit any more, so they have limits of their own.
constexpr int kMaxLingering = 16384;
constexpr std::size_t kMaxBytes = 256U << 20U;

std::atomic<int> lingering = 0;
std::atomic<std::size_t> lingering_bytes = 0;

// Unread input would turn close(2) into a reset, which throws away what is still under way; so the
// peer's answer to our close_notify, which may come any moment, is looked for at the very last.
void close(std::unique_ptr<RecordStream> stream) {
    Carrier carrier = std::move(stream->carrier());
    stream.reset();
    carrier.discard_input();
}

// One stream, counted for as long as it lingers.
class Lingering {
 public:
    explicit Lingering(std::unique_ptr<RecordStream> stream)
        : stream_(std::move(stream)), bytes_(stream_->unsent()) {
        ++lingering;
        lingering_bytes += bytes_;
    }
    Lingering(const Lingering&) = delete;
    Lingering& operator=(const Lingering&) = delete;
    ~Lingering() {
        if (stream_) close(std::move(stream_));
        lingering_bytes -= bytes_;
        --lingering;
    }

    // True when it is over: all was delivered, or will never be.
    [[nodiscard]] bool look() {
        const std::size_t before = stream_->unsent();
        stream_->flush();
        stream_->carrier().discard_input();  // a peer that is stuck writing would not read
        const std::size_t left = stream_->unsent();
        if (left == 0 && stream_->carrier().all_delivered()) return true;
        if (left < before) {
            pause_ = kFirstLook;
            still_ = milliseconds{0};
        } else if (waited_ > milliseconds{0}) {
            pause_ = std::min(std::max(2 * pause_, left == 0 ? kAcknowledged : kFirstLook),
                              kLongestPause);
        }
        return still_ >= kNoProgress || waited_ >= kLongest || lingering > kMaxLingering ||
               lingering_bytes > kMaxBytes;
    }

    // Until the next look, from now.
    [[nodiscard]] milliseconds next() {
        still_ += pause_;
        waited_ += pause_;
        return pause_;
    }

 private:
    std::unique_ptr<RecordStream> stream_;
    const std::size_t bytes_;
    milliseconds pause_ = kFirstLook;
    milliseconds still_{0};  // how long nothing has gone out
    milliseconds waited_{0};
};

void go_on(Reactor& reactor, const std::shared_ptr<Lingering>& one) {
    if (one->look()) return;  // the last reference closes it
    reactor.after(one->next(), [&reactor, one] { go_on(reactor, one); });
}

}  // namespace

void linger(Reactor& reactor, std::unique_ptr<RecordStream> stream) {
    go_on(reactor, std::make_shared<Lingering>(std::move(stream)));
}

bool anything_lingers() {
    return lingering > 0;
}

}  // namespace tlsfs
