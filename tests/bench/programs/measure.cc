// SPDX-License-Identifier: MIT
#include "measure.h"

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace bench {
namespace {

double clock_seconds(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::string digits(double value) {
    char text[40];
    std::snprintf(text, sizeof text, "%.9g", value);
    return text;
}

// False at the end of input.
bool read_line() {
    int c = 0;
    while ((c = std::getchar()) != EOF)
        if (c == '\n') return true;
    return false;
}

double percentile(const std::vector<double>& sorted, double share) {
    const auto index = static_cast<std::size_t>(share * static_cast<double>(sorted.size()));
    return sorted[std::min(index, sorted.size() - 1)];
}

}  // namespace

double wall_seconds() {
    return clock_seconds(CLOCK_MONOTONIC);
}

double cpu_seconds() {
    return clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

void wait_for_start() {
    std::puts("ready");
    std::fflush(stdout);
    if (!read_line()) std::exit(1);
}

void finish(const std::string& result) {
    std::puts(result.c_str());
    std::fflush(stdout);
    while (read_line()) {
    }
}

void Json::name(const std::string& name) {
    if (!fields_.empty()) fields_ += ", ";
    fields_ += '"' + name + "\": ";
}

Json& Json::add(const std::string& name, double value) {
    this->name(name);
    fields_ += digits(value);
    return *this;
}

Json& Json::add(const std::string& name, const std::vector<double>& values) {
    this->name(name);
    fields_ += '[';
    for (std::size_t i = 0; i < values.size(); ++i)
        fields_ += (i != 0 ? ", " : "") + digits(values[i]);
    fields_ += ']';
    return *this;
}

void Stopwatch::report(Json& json) const {
    json.add("seconds", wall_seconds() - wall_).add("cpu", cpu_seconds() - cpu_);
}

void report_latencies(Json& json, std::vector<double>& seconds) {
    std::sort(seconds.begin(), seconds.end());
    json.add("median", percentile(seconds, 0.5) * 1e6)
        .add("p99", percentile(seconds, 0.99) * 1e6)
        .add("p999", percentile(seconds, 0.999) * 1e6);
}

}  // namespace bench
