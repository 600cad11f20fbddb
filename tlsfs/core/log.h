// SPDX-License-Identifier: MIT
// What the companion says to its administrator. Every line of it leaves through Log::say.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "core/rate_bound.h"
#include "core/unique_fd.h"

namespace tlsfs {

enum class LogLevel : std::uint8_t { error, warning, info, debug };

[[nodiscard]] std::optional<LogLevel> parse_log_level(std::string_view word);

// Never waits: where the reader is behind, a line is lost rather than a connection held up. Control
// characters and all but ASCII are replaced; long lines are cut.
class Log {
 public:
    static constexpr std::size_t kMaxLine = 1024;  // bytes; a pipe takes it whole

    // To `fd`, which is not closed; -1: to nobody. If it is the journal's, as JOURNAL_STREAM says,
    // lines have the prefixes of sd-daemon(3).
    explicit Log(int fd = STDERR_FILENO, std::string program = "tlsfs");

    void set_level(LogLevel level) { level_ = level; }
    [[nodiscard]] bool wants(LogLevel level) const { return level <= level_; }

    // From now on to a stream of the journal's.
    void use_journal(UniqueFd stream);

    void say(LogLevel level, const std::string& text);
    // What must not be lost, at any level: waits a second for the reader. False: it is lost.
    [[nodiscard]] bool record(LogLevel level, const std::string& text);
    // On a user's account: they can cause as many lines as they like, and some are left out.
    void say_for(uid_t user, LogLevel level, const std::string& text);

 private:
    // Enough for a service that loses its network, too little to fill a disk in a day. Debugging is
    // on only while somebody looks.
    static constexpr RateBound::Rate kEach{50, 5}, kAll{500, 50};
    static constexpr RateBound::Rate kEachDebugging{1000, 500}, kAllDebugging{10000, 5000};

    static constexpr std::chrono::milliseconds kPatience{1000};  // of record()

    // False: it could not be written in that time.
    bool write_line(LogLevel level, const std::string& text,
                    std::chrono::milliseconds patience) const;

    const std::string program_;
    std::atomic<LogLevel> level_ = LogLevel::warning;
    std::mutex lock_;  // guards all below; the innermost
    int fd_;
    bool prefixed_;
    UniqueFd journal_;
    RateBound bound_{kEach, kAll}, debugging_bound_{kEachDebugging, kAllDebugging};
};

}  // namespace tlsfs
