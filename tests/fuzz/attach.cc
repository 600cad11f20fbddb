// SPDX-License-Identifier: MIT
// Messages to `attach`: no bytes break them, every descriptor is used once, and what is left for
// ctl names none but the message's.
#include <algorithm>
#include <set>

#include "attach/message.h"
#include "core/ctl.h"
#include "require.h"

using namespace tlsfs;

namespace {

using Verb = AttachMessage::Verb;

void use(std::set<std::size_t>& used, std::size_t index, std::size_t descriptors) {
    REQUIRE(index < descriptors);
    REQUIRE(used.insert(index).second);
}

void use_words(std::set<std::size_t>& used, const std::vector<std::string>& words,
               std::size_t descriptors) {
    REQUIRE(words.size() == 2 || words.size() == 3);
    for (std::size_t i = 1; i < words.size(); ++i) {
        REQUIRE(words[i].size() == 1);
        use(used, static_cast<std::size_t>(words[i][0] - '0'), descriptors);
    }
}

void check(const AttachMessage& message, std::size_t descriptors) {
    const bool has_lines =
        message.verb == Verb::open || message.verb == Verb::open_bare || message.verb == Verb::ctl;
    REQUIRE(has_lines || (message.lines.empty() && message.pems.empty()));
    REQUIRE(message.lines.empty() || message.lines.ends_with('\n'));
    std::set<std::size_t> used;
    for (const auto& pem : message.pems) use(used, pem.descriptor, descriptors);
    bool plain = false;
    std::string_view rest = message.lines;
    while (!rest.empty()) {
        const auto words = split_words(take_line(rest));
        if (!words || words->empty()) continue;
        plain |= words->front() == "plain";
        if (words->front() == "fd" || words->front() == "plain") {
            use_words(used, *words, descriptors);
        }
    }
    REQUIRE(plain == message.chooses_plain);
    if (message.verb == Verb::fd) {
        REQUIRE(descriptors == 1 || descriptors == 2);
    } else {
        REQUIRE(used.size() == descriptors);
    }
}

void check_cut(std::string_view text, std::size_t size) {
    const std::string cut = cut_to_lines(std::string(text), size);
    REQUIRE(cut.size() <= size || cut.size() == text.size());
    REQUIRE(text.starts_with(cut));
    REQUIRE(cut.size() == text.size() || cut.empty() || cut.ends_with('\n'));
}

}  // namespace

// The first byte says how many descriptors came with the text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::size_t descriptors = data[0] % 16;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    check_cut(text, data[0]);
    const auto message = parse_attach_message(text, descriptors);
    if (message) {
        check(*message, descriptors);
    } else {
        REQUIRE(message.error().code == EINVAL);
        REQUIRE(!message.error().text.empty());
    }
    return 0;
}
