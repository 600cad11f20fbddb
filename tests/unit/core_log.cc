// SPDX-License-Identifier: MIT
#include "core/log.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdlib>

using namespace tlsfs;
using std::chrono::seconds;

namespace {

// A pipe that nobody empties meanwhile.
class Reader {
 public:
    Reader() {
        std::array<int, 2> ends{};
        REQUIRE(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
        out_ = UniqueFd(ends[0]);
        in_ = UniqueFd(ends[1]);
    }
    [[nodiscard]] int fd() const { return in_.get(); }
    [[nodiscard]] std::string text() const {
        std::string all;
        std::array<char, 4096> part{};
        for (ssize_t got = 0; (got = read(out_.get(), part.data(), part.size())) > 0;) {
            all.append(part.data(), static_cast<std::size_t>(got));
        }
        return all;
    }

 private:
    UniqueFd out_, in_;
};

long lines_in(const std::string& text) {
    return std::count(text.begin(), text.end(), '\n');
}

}  // namespace

TEST_CASE("log: what is below the level is not said") {
    const Reader reader;
    Log log(reader.fd());
    CHECK(log.wants(LogLevel::warning));
    CHECK_FALSE(log.wants(LogLevel::info));
    log.say(LogLevel::info, "one");
    log.say(LogLevel::error, "two");
    log.set_level(LogLevel::debug);
    log.say_for(7, LogLevel::debug, "three");
    CHECK(reader.text() == "tlsfs: two\ntlsfs: three\n");
}

TEST_CASE("log: words for levels") {
    CHECK(parse_log_level("debug") == LogLevel::debug);
    CHECK_FALSE(parse_log_level("Debug"));
    CHECK_FALSE(parse_log_level(""));
}

TEST_CASE("log: a line is one line of ASCII, and not too long") {
    const Reader reader;
    Log log(reader.fd());
    log.say(LogLevel::error, "a\nb\x1b[31m\x9b;\x7f c");
    CHECK(reader.text() == "tlsfs: a?b?[31m?;? c\n");
    log.say(LogLevel::error, std::string(100'000, 'x'));
    CHECK(reader.text().size() == 7 + Log::kMaxLine + 1);
}

TEST_CASE("log: the journal gets priorities") {
    const Reader reader;
    struct stat info{};
    REQUIRE(fstat(reader.fd(), &info) == 0);
    setenv("JOURNAL_STREAM", fmt::format("{}:{}", info.st_dev, info.st_ino).c_str(), 1);
    Log log(reader.fd());
    const Log elsewhere(1);
    setenv("JOURNAL_STREAM", "1:1", 1);
    Log not_journal(reader.fd());
    unsetenv("JOURNAL_STREAM");
    log.say(LogLevel::warning, "one");
    not_journal.say(LogLevel::warning, "two");
    CHECK(reader.text() == "<4>one\ntlsfs: two\n");
    not_journal.use_journal(UniqueFd(dup(reader.fd())));
    not_journal.say(LogLevel::error, "three");
    CHECK(reader.text() == "<3>three\n");
}

TEST_CASE("log: a reader that is behind holds nobody up") {
    const Reader reader;
    REQUIRE(fcntl(reader.fd(), F_SETFL, 0) == 0);  // blocking, as stderr is
    Log log(reader.fd());
    for (int i = 0; i < 1000; ++i) log.say(LogLevel::error, std::string(1000, 'x'));
    const std::string text = reader.text();
    CHECK(lines_in(text) < 1000);
    CHECK(text.ends_with('\n'));
    log.say(LogLevel::error, "again");
    CHECK(reader.text() == "tlsfs: again\n");
}

TEST_CASE("log: one user's lines are bounded, and no other's") {
    const Reader reader;
    Log log(reader.fd());
    for (int i = 0; i < 1000; ++i) log.say_for(1000, LogLevel::warning, "x");
    const long said = lines_in(reader.text());
    CHECK(said >= 50);
    CHECK(said < 100);
    log.say_for(1001, LogLevel::warning, "y");
    log.say(LogLevel::warning, "z");
    CHECK(reader.text() == "tlsfs: y\ntlsfs: z\n");
}

TEST_CASE("rate bound: an allowance fills up again, and what was turned down is counted") {
    using Clock = RateBound::Clock;
    RateBound bound({2, 1}, {100, 100});
    const Clock::time_point start{};
    CHECK(bound.admit(1, start) == 0);
    CHECK(bound.admit(1, start) == 0);
    CHECK_FALSE(bound.admit(1, start));
    CHECK_FALSE(bound.admit(1, start + std::chrono::milliseconds{500}));
    CHECK(bound.admit(2, start) == 0);
    CHECK(bound.admit(1, start + seconds{1}) == 2);
    CHECK_FALSE(bound.admit(1, start + seconds{1}));
    CHECK(bound.admit(1, start + seconds{100}) == 1);
    CHECK(bound.admit(1, start + seconds{100}) == 0);
    CHECK_FALSE(bound.admit(1, start + seconds{100}));
}

TEST_CASE("rate bound: all users together have one too") {
    RateBound bound({10, 1}, {3, 1});
    const RateBound::Clock::time_point start{};
    for (uid_t user = 0; user < 3; ++user) CHECK(bound.admit(user, start) == 0);
    CHECK_FALSE(bound.admit(9, start));
    CHECK(bound.admit(9, start + seconds{1}) == 1);
}

TEST_CASE("rate bound: no more users are remembered than it says") {
    RateBound bound({2, 1}, {1e9, 1});
    const RateBound::Clock::time_point start{};
    for (uid_t user = 0; user < RateBound::kMaxUsers; ++user) CHECK(bound.admit(user, start) == 0);
    CHECK_FALSE(bound.admit(99999, start));
    CHECK(bound.admit(99999, start + seconds{2}) == 0);
}
