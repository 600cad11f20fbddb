// SPDX-License-Identifier: MIT
#include "core/log.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <tuple>
#include <utility>

#include "core/status.h"

namespace tlsfs {
namespace {

using namespace std::chrono_literals;

struct LevelEntry {
    std::string_view word;
    LogLevel level;
    int priority;  // syslog(3)'s
};
constexpr std::array kLevels{
    LevelEntry{"error", LogLevel::error, 3},
    LevelEntry{"warning", LogLevel::warning, 4},
    LevelEntry{"info", LogLevel::info, 6},
    LevelEntry{"debug", LogLevel::debug, 7},
};

// systemd.exec(5): the device and inode of a stream that is the journal's.
bool is_journal(int fd) {
    const char* stream = getenv("JOURNAL_STREAM");
    struct stat info{};
    if (stream == nullptr || fstat(fd, &info) != 0) return false;
    return stream == fmt::format("{}:{}", info.st_dev, info.st_ino);
}

}  // namespace

std::optional<LogLevel> parse_log_level(std::string_view word) {
    for (const LevelEntry& entry : kLevels) {
        if (entry.word == word) return entry.level;
    }
    return std::nullopt;
}

Log::Log(int fd, std::string program)
    : program_(std::move(program)), fd_(fd), prefixed_(is_journal(fd)) {}

void Log::use_journal(UniqueFd stream) {
    const std::scoped_lock guard(lock_);
    journal_ = std::move(stream);
    fd_ = journal_.get();
    prefixed_ = true;
}

void Log::say(LogLevel level, const std::string& text) {
    if (!wants(level)) return;
    const std::scoped_lock guard(lock_);
    std::ignore = write_line(level, text, 0ms);
}

bool Log::record(LogLevel level, const std::string& text) {
    const std::scoped_lock guard(lock_);
    return write_line(level, text, kPatience);
}

void Log::say_for(uid_t user, LogLevel level, const std::string& text) {
    if (!wants(level)) return;
    const std::scoped_lock guard(lock_);
    RateBound& bound = wants(LogLevel::debug) ? debugging_bound_ : bound_;
    const auto left_out = bound.admit(user, RateBound::Clock::now());
    if (!left_out) return;
    const std::string before =
        *left_out == 0
            ? ""
            : fmt::format("({} lines on account of user {} were left out) ", *left_out, user);
    std::ignore = write_line(level, before + text, 0ms);
}

// One write a line: so the lines of several threads stay whole.
bool Log::write_line(LogLevel level, const std::string& text,
                     std::chrono::milliseconds patience) const {
    if (fd_ < 0) return true;
    const int priority = kLevels.at(static_cast<std::size_t>(level)).priority;
    const std::string head = prefixed_ ? fmt::format("<{}>", priority) : program_ + ": ";
    const std::string line = head + printable(text.substr(0, kMaxLine)) + "\n";
    pollfd room{fd_, POLLOUT, 0};
    const int wait = static_cast<int>(patience.count());
    if (poll(&room, 1, wait) != 1 || (room.revents & POLLOUT) == 0) return false;
    return write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

}  // namespace tlsfs
