// SPDX-License-Identifier: MIT
#include <algorithm>

#include "fail.h"
#include "loads.h"
#include "measure.h"

namespace bench {

void echo(Transport& transport, const Options& options) {
    constexpr std::size_t kWarmUp = 50;
    const std::size_t block = options.number("block");
    std::vector<double> seconds(options.number("count"));
    std::vector<char> out(block), in(block);
    for (std::size_t i = 0; i < block; ++i) out[i] = static_cast<char>(i * 7);

    const auto stream = transport.open();
    ask(*stream, {kEcho, 0, 0});
    const auto round_trip = [&] {
        stream->write(out);
        read_exactly(*stream, in);
    };
    for (std::size_t i = 0; i < kWarmUp; ++i) round_trip();
    if (in != out) {
        errno = EBADMSG;
        fail("wrong bytes");
    }
    wait_for_start();
    Json json;
    const Stopwatch watch;
    for (double& each : seconds) {
        const double began = wall_seconds();
        round_trip();
        each = wall_seconds() - began;
    }
    watch.report(json);
    report_latencies(json, seconds);
    finish(json.text());
}

}  // namespace bench
