// SPDX-License-Identifier: MIT
// Many connections of which nobody hears, all in one epoll set; then one of them, and another, says
// something and is answered.
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "fail.h"
#include "loads.h"
#include "measure.h"
#include "socket.h"

namespace bench {
namespace {

constexpr std::size_t kMessage = 64;
using Message = std::array<char, kMessage>;

// One round trip at the beginning: whoever is slow to be ready is ready then, and the tickets have
// been read.
std::unique_ptr<Stream> open_one(Transport& transport) {
    auto stream = transport.open();
    Message message{};
    ask(*stream, {kEcho, 0, 0});
    stream->write(message);
    read_exactly(*stream, message);
    return stream;
}

std::vector<std::unique_ptr<Stream>> open_all(Transport& transport, std::size_t count) {
    constexpr std::size_t kOpeners = 8;
    std::vector<std::unique_ptr<Stream>> streams(count);
    std::vector<std::thread> openers;
    for (std::size_t first = 0; first < kOpeners; ++first)
        openers.emplace_back([&, first] {
            for (std::size_t i = first; i < count; i += kOpeners) streams[i] = open_one(transport);
        });
    for (std::thread& opener : openers) opener.join();
    return streams;
}

class WaitingSet {
 public:
    explicit WaitingSet(const std::vector<std::unique_ptr<Stream>>& streams) {
        for (std::size_t i = 0; i < streams.size(); ++i) {
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.u64 = i;
            if (epoll_ctl(poll_.get(), EPOLL_CTL_ADD, streams[i]->descriptor(), &event) != 0)
                fail("epoll_ctl");
        }
    }
    // The number of one that is readable.
    std::size_t wait() {
        epoll_event event{};
        if (epoll_wait(poll_.get(), &event, 1, -1) != 1) fail("epoll_wait");
        return event.data.u64;
    }

 private:
    UniqueFd poll_{epoll_create1(EPOLL_CLOEXEC)};
};

}  // namespace

void idle(Transport& transport, const Options& options) {
    const std::size_t connections = options.number("connections");
    wait_for_start();
    Json json;
    const double began = wall_seconds();
    const auto streams = open_all(transport, connections);
    json.add("open", wall_seconds() - began);
    WaitingSet waiting(streams);
    wait_for_start();  // the driver looks at the memory
    std::vector<double> seconds(options.number("count"));
    std::mt19937 random(1);
    Message message{};
    for (double& each : seconds) {
        const std::size_t chosen = random() % connections;
        const double start = wall_seconds();
        streams[chosen]->write(message);
        if (waiting.wait() != chosen) fail("another one woke up");
        read_exactly(*streams[chosen], message);
        each = wall_seconds() - start;
    }
    report_latencies(json, seconds);
    finish(json.text());
}

}  // namespace bench
