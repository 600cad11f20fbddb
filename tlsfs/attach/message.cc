// SPDX-License-Identifier: MIT
#include "attach/message.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/ctl.h"
#include "core/number.h"

namespace tlsfs {
namespace {

using Verb = AttachMessage::Verb;

struct VerbEntry {
    std::string_view name;
    Verb verb;
    bool has_number;
    bool has_lines;
};

constexpr std::array kVerbs{
    VerbEntry{"open", Verb::open, false, true},
    VerbEntry{"check", Verb::check, false, true},
    VerbEntry{"fd", Verb::fd, true, false},
    VerbEntry{"socket", Verb::socket, true, false},
    VerbEntry{"list", Verb::list, false, false},
    VerbEntry{"status", Verb::status, true, false},
    VerbEntry{"stats", Verb::stats, true, false},
    VerbEntry{"peer", Verb::peer, true, false},
    VerbEntry{"ciphers", Verb::ciphers, false, false},
    VerbEntry{"engines", Verb::engines, false, false},
    VerbEntry{"ctl", Verb::ctl, true, true},
};

struct PemVerb {
    std::string_view name;
    PemFile file;
};

constexpr std::array kPemVerbs{PemVerb{"ca", PemFile::ca}, PemVerb{"cert", PemFile::cert},
                               PemVerb{"key", PemFile::key}};

tl::unexpected<Error> wrong(std::string_view why) {
    return failure(EINVAL, fmt::format("attach: {}", why));
}

bool is_text(std::string_view text) {
    return std::ranges::all_of(text, [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return c == '\n' || c == '\t' || (byte >= 0x20 && byte != 0x7f);
    });
}

class Parser {
 public:
    explicit Parser(std::size_t descriptors) : descriptors_(descriptors) {}

    Result<AttachMessage> parse(std::string_view text) {
        if (text.size() > kMaxMessage) return wrong("the message is too large");
        if (descriptors_ > kMaxDescriptors) return wrong("too many descriptors");
        if (!is_text(text)) return wrong("the message is no text");
        const VerbEntry* entry = nullptr;
        if (auto first = parse_first(take_line(text), entry); !first) {
            return tl::unexpected(first.error());
        }
        if (!entry->has_lines && !text.empty()) return wrong("more than one line");
        while (!text.empty()) {
            if (auto line = parse_line(take_line(text)); !line) return tl::unexpected(line.error());
        }
        if (used_ > descriptors_) return wrong("the message lacks descriptors");
        if (used_ < descriptors_) return wrong("the message has surplus descriptors");
        return std::move(message_);
    }

 private:
    Result<> parse_first(std::string_view line, const VerbEntry*& entry) {
        const auto words = split_words(line);
        if (!words) return tl::unexpected(words.error());
        if (words->empty()) return wrong("the message is empty");
        const bool bare_number = words->size() == 1 && parse_number(words->front());
        const std::string_view name = bare_number ? "fd" : std::string_view(words->front());
        const auto found = std::ranges::find(kVerbs, name, &VerbEntry::name);
        if (found == kVerbs.end()) return wrong("the first line is not understood");
        entry = &*found;
        message_.verb = found->verb;
        if (found->verb == Verb::fd) used_ = descriptors_ == 2 ? 2 : 1;
        if (found->has_number) return parse_number_of(*words, bare_number);
        if (words->size() == 1) return {};
        if (found->verb != Verb::open || words->size() != 2 || words->back() != "bare") {
            return wrong(fmt::format("{}: too many words", name));
        }
        message_.verb = Verb::open_bare;
        return {};
    }

    Result<> parse_number_of(const std::vector<std::string>& words, bool bare_number) {
        const auto number = parse_number(words.back());
        if (!number || words.size() != (bare_number ? 1U : 2U)) {
            return wrong(fmt::format("{}: say a connection's number", words.front()));
        }
        message_.number = *number;
        return {};
    }

    // A line that ctl does not understand is left for it to say so.
    Result<> parse_line(std::string_view line) {
        const auto words = split_words(line);
        const std::string_view verb =
            words && !words->empty() ? std::string_view(words->front()) : "";
        if (verb == "fd" || verb == "plain") return parse_stream(*words);
        if (verb == "tied") return parse_tied(*words);
        const auto pem = std::ranges::find(kPemVerbs, verb, &PemVerb::name);
        if (pem == kPemVerbs.end()) {
            message_.lines.append(line).push_back('\n');
            return {};
        }
        if (auto right = check_words(*words, 1); !right) return right;
        message_.pems.push_back({pem->file, used_++});
        return {};
    }

    Result<> parse_tied(const std::vector<std::string>& words) {
        const bool opens = message_.verb == Verb::open || message_.verb == Verb::open_bare;
        if (!opens || words.size() != 1) return wrong("tied: it is a line of open, without words");
        message_.tied = true;
        return {};
    }

    Result<> parse_stream(const std::vector<std::string>& words) {
        if (auto right = check_words(words, 2); !right) return right;
        message_.chooses_plain |= words.front() == "plain";
        message_.lines += words.front();
        const std::size_t count = words.size() == 3 ? 2 : 1;
        for (std::size_t i = 0; i < count; ++i) message_.lines += fmt::format(" {}", used_++);
        message_.lines.push_back('\n');
        return {};
    }

    // Nobody's table of descriptors is looked at.
    static Result<> check_words(const std::vector<std::string>& words, std::size_t most) {
        const auto is_dash = [](const std::string& word) { return word == "-"; };
        if (words.size() <= most + 1 && std::all_of(words.begin() + 1, words.end(), is_dash)) {
            return {};
        }
        return wrong(fmt::format("{}: send the descriptor and say -", words.front()));
    }

    const std::size_t descriptors_;
    std::size_t used_ = 0;
    AttachMessage message_;
};

}  // namespace

Result<AttachMessage> parse_attach_message(std::string_view text, std::size_t descriptors) {
    return Parser(descriptors).parse(text);
}

std::string cut_to_lines(std::string text, std::size_t size) {
    if (text.size() <= size) return text;
    const auto end = text.rfind('\n', size == 0 ? 0 : size - 1);
    text.resize(end == std::string::npos || end >= size ? 0 : end + 1);
    return text;
}

}  // namespace tlsfs
