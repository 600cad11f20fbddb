// SPDX-License-Identifier: MIT
#include "core/ctl.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <span>

#include "core/bounds.h"
#include "core/key_message.h"
#include "core/number.h"

namespace tlsfs {
namespace {

using Words = std::span<const std::string>;
// What a verb makes of its words: something to do, or a setting.
using MakeCommand = Result<Command> (*)(Words);
using SetChoice = Result<> (*)(Words, Choices&);

constexpr bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

tl::unexpected<Error> invalid(std::string text) {
    return failure(EINVAL, std::move(text));
}

Result<int> parse_number(const std::string& word) {
    int value = 0;
    const char* end = word.data() + word.size();
    const auto [stop, error] = std::from_chars(word.data(), end, value);
    if (error != std::errc{} || stop != end || value < 0) {
        return invalid(fmt::format("'{}' is not a descriptor number", word));
    }
    return value;
}

Result<Command> parse_fd(Words words) {
    const auto read = parse_number(words.front());
    if (!read) return tl::unexpected(read.error());
    const auto write = parse_number(words.back());
    if (!write) return tl::unexpected(write.error());
    return command::Fd{*read, *write};
}

Result<Command> parse_plain_side(Words words) {
    return parse_fd(words).map([](const Command& fd) -> Command {
        const auto& ends = std::get<command::Fd>(fd);
        return command::Plain{ends.read, ends.write};
    });
}

// A number, or a service's name (RFC 6335 section 5.1). getaddrinfo(3) would take more, and take it
// for something else: 65579 for 43, for one.
bool is_port(std::string_view word) {
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    const auto letter = [](char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; };
    if (std::ranges::all_of(word, digit)) {
        unsigned number = 0;
        const char* end = word.data() + word.size();
        const auto [stop, error] = std::from_chars(word.data(), end, number);
        return error == std::errc{} && number >= 1 && number <= 65535;
    }
    return std::ranges::any_of(word, letter) &&
           std::ranges::all_of(word, [&](char c) { return digit(c) || letter(c) || c == '-'; });
}

Result<Command> parse_dial(Words words) {
    const std::string& target = words[0];
    if (target.starts_with('/')) return command::Dial{{}, {}, target};
    const auto colon = target.rfind(':');
    if (colon == std::string::npos || colon + 1 == target.size() || colon == 0) {
        return invalid(fmt::format("'{}' is neither HOST:PORT nor /path", target));
    }
    std::string host = target.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string::npos) {
        return invalid(fmt::format("write an IPv6 address as [ADDRESS]:PORT, not '{}'", target));
    }
    if (host.empty()) return invalid(fmt::format("no host in '{}'", target));
    std::string port = target.substr(colon + 1);
    if (!is_port(port)) return invalid(fmt::format("'{}' is no port", port));
    return command::Dial{std::move(host), std::move(port), {}};
}

Result<TlsVersion> parse_tls_version(const std::string& word) {
    if (word == "1.2") return TlsVersion::tls12;
    if (word == "1.3") return TlsVersion::tls13;
    return invalid(fmt::format("version '{}' is neither 1.2 nor 1.3", word));
}

Result<> choose_version(Words words, Choices& choices) {
    const auto min = parse_tls_version(words[0]);
    if (!min) return tl::unexpected(min.error());
    const auto max = words.size() == 1 ? TlsVersion::tls13 : parse_tls_version(words[1]);
    if (!max) return tl::unexpected(max.error());
    if (*min > *max) return invalid("the lowest version is above the highest");
    choices.min_version = *min;
    choices.max_version = *max;
    return {};
}

// Each name is looked up; which there are, only OpenSSL knows (engine/context).
Result<std::string> parse_list(std::string_view verb, const std::string& list) {
    if (list.empty()) return invalid(fmt::format("{}: the list is empty", verb));
    const auto separators = static_cast<std::size_t>(std::ranges::count(list, ':'));
    if (separators < bounds::kListNames) return list;
    return invalid(fmt::format("{}: a list has at most {} names", verb, bounds::kListNames));
}

// Puts into a setting what was parsed for it, unless that failed.
template <class Setting>
Result<> set(Setting& setting, Result<Setting> parsed) {
    if (!parsed) return tl::unexpected(parsed.error());
    setting = std::move(*parsed);
    return {};
}

Result<> choose_ciphers(Words words, Choices& choices) {
    return set(choices.ciphers, parse_list("ciphers", words[0]));
}

Result<> choose_groups(Words words, Choices& choices) {
    return set(choices.groups, parse_list("groups", words[0]));
}

Result<> choose_alpn(Words words, Choices& choices) {
    for (const std::string& word : words) {
        // RFC 7301 section 3.1: one length byte before each name.
        if (word.empty() || word.size() > 255) {
            return invalid("an ALPN protocol name has 1 to 255 bytes");
        }
    }
    choices.alpn.assign(words.begin(), words.end());
    return {};
}

std::optional<std::uint8_t> parse_hex_byte(std::string_view two) {
    std::uint8_t value = 0;
    const char* end = two.data() + 2;
    const auto [stop, error] = std::from_chars(two.data(), end, value, 16);
    if (error != std::errc{} || stop != end) return std::nullopt;
    return value;
}

Result<Pin> parse_pin(std::string_view word) {
    Pin pin;
    std::string_view hex = word;
    if (word.starts_with("sha256:")) {
        hex.remove_prefix(7);
    } else if (word.starts_with("spki:")) {
        pin.of = Pin::Of::public_key;
        hex.remove_prefix(5);
    } else {
        return invalid(fmt::format("pin '{}' is neither sha256:HEX nor spki:HEX", word));
    }
    if (hex.size() != 2 * pin.sha256.size()) {
        return invalid("a pin's hash is 64 hexadecimal digits");
    }
    for (std::size_t i = 0; i < pin.sha256.size(); ++i) {
        const auto byte = parse_hex_byte(hex.substr(2 * i, 2));
        if (!byte) return invalid("a pin's hash is 64 hexadecimal digits");
        pin.sha256[i] = *byte;
    }
    return pin;
}

Result<VerifyPolicy> parse_pins(Words words) {
    VerifyPolicy policy{VerifyPolicy::Mode::pin, {}};
    if (words.empty()) return invalid("verify pin wants at least one hash");
    for (const std::string& word : words) {
        const auto pin = parse_pin(word);
        if (!pin) return tl::unexpected(pin.error());
        policy.pins.push_back(*pin);
    }
    return policy;
}

Result<VerifyPolicy> parse_verify(Words words) {
    using Mode = VerifyPolicy::Mode;
    const std::string& mode = words[0];
    if (mode == "pin") return parse_pins(words.subspan(1));
    if (words.size() > 1) return invalid(fmt::format("verify {} takes no more words", mode));
    if (mode == "system") return VerifyPolicy{Mode::system, {}};
    if (mode == "ca") return VerifyPolicy{Mode::ca, {}};
    if (mode == "none") return VerifyPolicy{Mode::none, {}};
    return invalid(fmt::format("verify '{}' is none of system, ca, none, pin", mode));
}

Result<> choose_verify(Words words, Choices& choices) {
    return set(choices.verify, parse_verify(words));
}

Result<std::vector<AllowRule>> parse_allow(Words words) {
    if (words.size() > bounds::kAllowRules) {
        return invalid(fmt::format("allow: at most {} rules", bounds::kAllowRules));
    }
    std::vector<AllowRule> rules;
    for (const std::string& word : words) {
        auto rule = parse_allow_rule(word);
        if (!rule) return tl::unexpected(rule.error());
        rules.push_back(std::move(*rule));
    }
    return rules;
}

Result<> choose_allow(Words words, Choices& choices) {
    return set(choices.allow, parse_allow(words));
}

// 0.001 seconds to a day.
Result<std::chrono::milliseconds> parse_seconds(std::string_view verb, const std::string& word) {
    constexpr auto kMaxSeconds =
        std::chrono::duration_cast<std::chrono::seconds>(kMaxTimeout).count();
    double seconds = 0;
    const char* end = word.data() + word.size();
    const auto [stop, error] = std::from_chars(word.data(), end, seconds, std::chars_format::fixed);
    if (error != std::errc{} || stop != end || !std::isfinite(seconds) || seconds < 0.001 ||
        seconds > static_cast<double>(kMaxSeconds)) {
        return invalid(fmt::format("{} '{}' is not 0.001 to {} seconds", verb, word, kMaxSeconds));
    }
    return std::chrono::milliseconds{std::llround(seconds * 1000)};
}

Result<> choose_timeout(Words words, Choices& choices) {
    return set(choices.timeout, parse_seconds("timeout", words[0]));
}

Result<> choose_idle(Words words, Choices& choices) {
    if (words[0] != "0") return set(choices.idle, parse_seconds("idle", words[0]));
    choices.idle = {};
    return {};
}

Result<bool> parse_session(const std::string& word) {
    if (word == "on") return true;
    if (word == "off") return false;
    return invalid(fmt::format("session '{}' is neither on nor off", word));
}

Result<> choose_session(Words words, Choices& choices) {
    return set(choices.session_cache, parse_session(words[0]));
}

Result<EngineChoice> parse_engine(const std::string& word) {
    if (word == "auto") return EngineChoice::automatic;
    if (word == "user") return EngineChoice::user;
    if (word == "kernel") return EngineChoice::kernel;
    return invalid(fmt::format("engine '{}' is none of auto, user, kernel", word));
}

Result<> choose_engine(Words words, Choices& choices) {
    return set(choices.engine, parse_engine(words[0]));
}

Result<> choose_identities(Words words, Choices& choices) {
    for (const std::string& word : words) {
        if (is_identity_name(word)) continue;
        return invalid(
            fmt::format("identity '{}': a name has letters, digits, '.', '_' and '-', {} "
                        "at most, and begins with a letter or digit",
                        word, kMaxIdentityName));
    }
    choices.identities.assign(words.begin(), words.end());
    return {};
}

Result<Command> parse_client(Words words) {
    if (words.empty()) return command::Client{};
    // RFC 1035 section 2.3.4: a name has at most 255 bytes.
    if (words[0].empty() || words[0].size() > 255) return invalid("a name has 1 to 255 bytes");
    return command::Client{words[0]};
}

template <class Bare>
Result<Command> parse_bare(Words) {
    return Bare{};
}

struct VerbEntry {
    std::string_view name;
    std::size_t min_words, max_words;
    std::variant<MakeCommand, SetChoice> meaning;
    StateSet allowed;
};

constexpr StateSet kBefore{State::fresh};
constexpr StateSet kWritable{State::established, State::remote_closed};
constexpr StateSet kLiving{State::fresh, State::established, State::remote_closed,
                           State::local_closed};
constexpr StateSet kAny{State::fresh,         State::handshaking,  State::established,
                        State::remote_closed, State::local_closed, State::closed,
                        State::error};

// The verbs, in the order of tls(4).
constexpr std::array kVerbs{
    VerbEntry{"fd", 1, 2, parse_fd, kBefore},
    VerbEntry{"plain", 1, 2, parse_plain_side, kLiving},
    VerbEntry{"dial", 1, 1, parse_dial, kBefore},
    VerbEntry{"version", 1, 2, choose_version, kBefore},
    VerbEntry{"ciphers", 1, 1, choose_ciphers, kBefore},
    VerbEntry{"groups", 1, 1, choose_groups, kBefore},
    VerbEntry{"alpn", 1, kAnyNumber, choose_alpn, kBefore},
    VerbEntry{"verify", 1, kAnyNumber, choose_verify, kBefore},
    VerbEntry{"allow", 1, kAnyNumber, choose_allow, kBefore},
    VerbEntry{"timeout", 1, 1, choose_timeout, kBefore},
    VerbEntry{"idle", 1, 1, choose_idle, kLiving},
    VerbEntry{"session", 1, 1, choose_session, kBefore},
    VerbEntry{"engine", 1, 1, choose_engine, kBefore},
    VerbEntry{"identity", 1, bounds::kIdentities, choose_identities, kBefore},
    VerbEntry{"client", 0, 1, parse_client, kBefore},
    VerbEntry{"server", 0, 0, parse_bare<command::Server>, kBefore},
    VerbEntry{"keyupdate", 0, 0, parse_bare<command::KeyUpdate>, kWritable},
    VerbEntry{"close", 0, 0, parse_bare<command::Close>, kWritable},
    VerbEntry{"hangup", 0, 0, parse_bare<command::Hangup>, kAny},
};

Result<Command> understand(const VerbEntry& entry, Words words, const Choices& now) {
    if (const auto* make = std::get_if<MakeCommand>(&entry.meaning)) return (*make)(words);
    command::Set line{now};
    const auto done = std::get<SetChoice>(entry.meaning)(words, line.choices);
    if (!done) return tl::unexpected(done.error());
    return line;
}

}  // namespace

Result<> check_lines(std::string_view text) {
    auto lines = static_cast<std::size_t>(std::ranges::count(text, '\n'));
    if (!text.empty() && text.back() != '\n') ++lines;
    if (lines <= bounds::kCtlLines) return {};
    return invalid(fmt::format("a write has at most {} lines", bounds::kCtlLines));
}

std::string_view take_line(std::string_view& text) {
    const auto newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    return line;
}

Result<std::vector<std::string>> split_words(std::string_view line) {
    std::vector<std::string> words;
    bool in_word = false;
    bool quoted = false;
    for (std::size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (!quoted && is_blank(c)) {
            in_word = false;
            continue;
        }
        if (!in_word) {
            words.emplace_back();
            in_word = true;
        }
        if (c != '\'') {
            words.back() += c;
        } else if (quoted && i + 1 < line.size() && line[i + 1] == '\'') {
            words.back() += '\'';
            ++i;
        } else {
            quoted = !quoted;
        }
    }
    if (quoted) return invalid("a quote is open at the end of the line");
    return words;
}

Result<ParsedLine> parse_line(std::string_view line, const Choices& now) {
    if (line.size() > bounds::kCtlLine) {
        return invalid(fmt::format("a line has at most {} bytes", bounds::kCtlLine));
    }
    if (line.find('\0') != std::string_view::npos) return invalid("a NUL byte in the line");
    const auto words = split_words(line);
    if (!words) return tl::unexpected(words.error());
    if (words->empty()) return invalid("an empty line");

    const auto entry = std::ranges::find(kVerbs, words->front(), &VerbEntry::name);
    if (entry == kVerbs.end()) return invalid(fmt::format("unknown verb '{}'", words->front()));
    const auto arguments = Words(*words).subspan(1);
    if (arguments.size() < entry->min_words || arguments.size() > entry->max_words) {
        return invalid(fmt::format("{}: wrong number of words", entry->name));
    }
    auto command = understand(*entry, arguments, now);
    if (!command) return tl::unexpected(command.error());
    return ParsedLine{std::move(*command), entry->name, entry->allowed};
}

}  // namespace tlsfs
