// SPDX-License-Identifier: MIT
// The grammar of ctl: no bytes break it, errors are one line, words survive quoting.
#include "core/ctl.h"

#include "core/bounds.h"
#include "require.h"

using namespace tlsfs;

namespace {

std::string quote(const std::string& word) {
    std::string quoted = "'";
    for (const char c : word) quoted += c == '\'' ? "''" : std::string(1, c);
    return quoted + "'";
}

void check_words(std::string_view line) {
    const auto words = split_words(line);
    if (!words) return;
    std::string again;
    for (const std::string& word : *words) again += quote(word) + " ";
    const auto same = split_words(again);
    REQUIRE(same && *same == *words);
}

void check_line(std::string_view line) {
    REQUIRE(line.find('\n') == std::string_view::npos);
    check_words(line);
    const auto parsed = parse_line(line);
    if (!parsed) {
        REQUIRE(parsed.error().code == EINVAL);
        REQUIRE(!parsed.error().text.empty());
        REQUIRE(parsed.error().text.find('\n') == std::string::npos);
        return;
    }
    REQUIRE(line.size() <= bounds::kCtlLine);
    REQUIRE(!parsed->verb.empty());
    if (const auto* fd = std::get_if<command::Fd>(&parsed->command))
        REQUIRE(fd->read >= 0 && fd->write >= 0);
    if (const auto* dial = std::get_if<command::Dial>(&parsed->command)) {
        REQUIRE(dial->path.empty() == !dial->host.empty());
        REQUIRE(dial->host.empty() == dial->port.empty());
    }
    if (const auto* version = std::get_if<command::Version>(&parsed->command))
        REQUIRE(version->min <= version->max);
    if (const auto* timeout = std::get_if<command::Timeout>(&parsed->command))
        REQUIRE(timeout->limit.count() > 0);
    if (const auto* verify = std::get_if<command::Verify>(&parsed->command)) {
        REQUIRE(verify->policy.mode != VerifyPolicy::Mode::unset);
        REQUIRE((verify->policy.mode == VerifyPolicy::Mode::pin) == !verify->policy.pins.empty());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view rest(reinterpret_cast<const char*>(data), size);
    std::size_t taken = 0;
    while (!rest.empty()) {
        const std::size_t before = rest.size();
        const std::string_view line = take_line(rest);
        REQUIRE(rest.size() < before);
        taken += before - rest.size();
        check_line(line);
    }
    REQUIRE(taken == size);
    return 0;
}
