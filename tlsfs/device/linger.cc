// SPDX-License-Identifier: MIT
#include "device/linger.h"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace tlsfs {
namespace {

using std::chrono::milliseconds;

// Acknowledgements come within a round trip, or delayed by about 40 ms; a slow peer's, later.
constexpr milliseconds kFirstLook{1};
constexpr milliseconds kNextLook{42};
constexpr milliseconds kLongestPause{200};
constexpr milliseconds kGiveUp{30'000};
// Streams that linger belong to no user's limit any more, so they have one of their own.
constexpr int kMaxLingering = 16384;

std::atomic<int> lingering = 0;

// Counts one stream for as long as it lives.
struct Counted {
    explicit Counted(std::unique_ptr<RecordStream> own) : stream(std::move(own)) { ++lingering; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() { --lingering; }
    std::unique_ptr<RecordStream> stream;
};

// Unread input would turn close(2) into a reset, which throws away what is still under way; so the
// peer's answer to our close_notify, which may come any moment, is looked for at the very last.
void close(std::unique_ptr<RecordStream> stream) {
    Carrier carrier = std::move(stream->carrier());
    stream.reset();
    carrier.discard_input();
}

void look(Reactor& reactor, const std::shared_ptr<Counted>& counted, milliseconds pause,
          milliseconds waited) {
    RecordStream* const stream = counted->stream.get();
    stream->flush();
    stream->carrier().discard_input();  // a peer that is stuck writing would not read
    const bool delivered = stream->unsent() == 0 && stream->carrier().all_delivered();
    if (delivered || waited >= kGiveUp || lingering > kMaxLingering) {
        close(std::move(counted->stream));
        return;
    }
    reactor.after(pause, [&reactor, counted, pause, waited] {
        look(reactor, counted, std::clamp(2 * pause, kNextLook, kLongestPause), waited + pause);
    });
}

}  // namespace

void linger(Reactor& reactor, std::unique_ptr<RecordStream> stream) {
    look(reactor, std::make_shared<Counted>(std::move(stream)), kFirstLook, milliseconds{0});
}

}  // namespace tlsfs
