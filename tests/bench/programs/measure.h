// SPDX-License-Identifier: MIT
// Clocks, the talk with the driver, and what a program prints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bench {

double wall_seconds();
// Of this process, all threads.
double cpu_seconds();

// The driver looks at the clocks of other processes between these: `ready` says so and waits for a
// line, `finish` prints the result and waits for the end of input.
void wait_for_start();
void finish(const std::string& result);

// The fields of one flat JSON object.
class Json {
 public:
    Json& add(const std::string& name, double value);
    Json& add(const std::string& name, const std::vector<double>& values);
    [[nodiscard]] std::string text() const { return "{" + fields_ + "}"; }

 private:
    void name(const std::string& name);
    std::string fields_;
};

// Wall time and own CPU since it was made.
class Stopwatch {
 public:
    Stopwatch() : wall_(wall_seconds()), cpu_(cpu_seconds()) {}
    void report(Json& json) const;

 private:
    double wall_, cpu_;
};

// The median and two high percentiles, in microseconds. Sorts.
void report_latencies(Json& json, std::vector<double>& seconds);

}  // namespace bench
