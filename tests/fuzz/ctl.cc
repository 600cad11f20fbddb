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
    if (const auto* set = std::get_if<command::Set>(&parsed->command)) {
        const Choices& now = set->choices;
        REQUIRE(now.min_version <= now.max_version);
        REQUIRE(now.timeout.count() > 0);
        REQUIRE((parsed->verb == "verify") == (now.verify.mode != VerifyPolicy::Mode::unset));
        REQUIRE((now.verify.mode == VerifyPolicy::Mode::pin) == !now.verify.pins.empty());
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
