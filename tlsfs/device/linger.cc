// SPDX-License-Identifier: MIT
#include "device/linger.h"

#include <algorithm>
#include <chrono>

namespace tlsfs {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstLook{1};
constexpr milliseconds kLongestPause{200};
constexpr milliseconds kGiveUp{30'000};

void look(Reactor& reactor, const std::shared_ptr<RecordStream>& stream, milliseconds pause,
          milliseconds waited) {
    stream->flush();
    // Unread input would turn close(2) into a reset, which throws away what is still under way.
    stream->carrier().discard_input();
    const bool delivered = stream->unsent() == 0 && stream->carrier().all_delivered();
    if (delivered || waited >= kGiveUp) return;
    reactor.after(pause, [&reactor, stream, pause, waited] {
        look(reactor, stream, std::min(2 * pause, kLongestPause), waited + pause);
    });
}

}  // namespace

void linger(Reactor& reactor, std::unique_ptr<RecordStream> stream) {
    look(reactor, std::move(stream), kFirstLook, milliseconds{0});
}

}  // namespace tlsfs
