// SPDX-License-Identifier: MIT
// Many connections at work at once, a thread each: a block out, one byte back, over and over. The
// answer keeps what is under way small, so that what is counted has arrived.
#include <atomic>
#include <thread>

#include "loads.h"
#include "measure.h"

namespace bench {
namespace {

using namespace std::chrono_literals;

struct Run {
    std::atomic<bool> go = false, counting = false, over = false;
};

void talk(Stream& stream, std::size_t block, const Run& run, std::uint64_t& blocks) {
    const std::vector<char> buffer(block, 'x');
    ask(stream, {kSink, static_cast<std::uint32_t>(block), 0});
    expect_byte(stream, kGo);
    run.go.wait(false);
    while (!run.over) {
        stream.write(buffer);
        expect_byte(stream, kDone);
        if (run.counting) ++blocks;
    }
}

}  // namespace

void busy(Transport& transport, const Options& options) {
    const std::size_t block = options.number("block"), connections = options.number("connections");
    const std::chrono::milliseconds duration(options.number("milliseconds"));
    std::vector<std::unique_ptr<Stream>> streams(connections);
    for (auto& stream : streams) stream = transport.open();
    std::vector<std::uint64_t> blocks(connections);
    Run run;
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < connections; ++i)
        threads.emplace_back([&, i] { talk(*streams[i], block, run, blocks[i]); });
    wait_for_start();
    run.go = true;
    run.go.notify_all();
    std::this_thread::sleep_for(duration / 5);  // until all are at it
    Json json;
    run.counting = true;
    const Stopwatch watch;
    std::this_thread::sleep_for(duration);
    run.counting = false;
    watch.report(json);
    run.over = true;
    for (std::thread& thread : threads) thread.join();
    std::vector<double> each(blocks.begin(), blocks.end());
    json.add("blocks", each);
    finish(json.text());
}

}  // namespace bench
