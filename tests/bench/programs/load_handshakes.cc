// SPDX-License-Identifier: MIT
// Connections made as fast as it goes. Each asks for one byte, so that a client has read the
// session tickets, without which nothing could be resumed.
#include <atomic>
#include <thread>

#include "loads.h"
#include "measure.h"

namespace bench {
namespace {

struct Counts {
    std::atomic<std::uint64_t> done = 0, resumed = 0;
};

void one(Transport& transport, Counts& counts) {
    const auto stream = transport.open();
    ask(*stream, {kHello, 0, 0});
    const bool told = read_byte(*stream) == kResumed;
    if (stream->resumed().value_or(told)) ++counts.resumed;
    ++counts.done;
}

}  // namespace

void handshakes(Transport& transport, const Options& options) {
    const double duration = static_cast<double>(options.number("milliseconds")) / 1000;
    Counts warm_up, counts;
    for (int i = 0; i < 3; ++i) one(transport, warm_up);
    wait_for_start();
    Json json;
    const Stopwatch watch;
    const double end = wall_seconds() + duration;
    std::vector<std::thread> threads;
    for (std::uint64_t i = 0; i < options.number("threads"); ++i)
        threads.emplace_back([&] {
            while (wall_seconds() < end) one(transport, counts);
        });
    for (std::thread& thread : threads) thread.join();
    watch.report(json);
    json.add("count", static_cast<double>(counts.done.load()));
    json.add("resumed", static_cast<double>(counts.resumed.load()));
    finish(json.text());
}

}  // namespace bench
