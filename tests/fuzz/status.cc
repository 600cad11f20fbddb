// SPDX-License-Identifier: MIT
// status, written and read again: what others chose stays on its line.
#include "core/status.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "require.h"

using namespace tlsfs;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string input(reinterpret_cast<const char*>(data), size);
    StatusFields fields;
    const std::array chosen{&fields.alpn, &fields.name, &fields.peer, &fields.remote,
                            &fields.error};
    for (std::string* field : chosen) *field = input;
    const std::string text = status_text(fields);
    REQUIRE(std::ranges::count(text, '\n') == (input.empty() ? 2 : 7));
    REQUIRE(std::ranges::all_of(text, [](char c) { return c == '\n' || (c >= 0x20 && c < 0x7f); }));
    const StatusFields again = parse_status(text);
    REQUIRE(again.name == printable(input));
    REQUIRE(again.verification == Verification::unknown);

    const StatusFields any = parse_status(input);
    REQUIRE(status_text(parse_status(status_text(any))) == status_text([&] {
                StatusFields kept = any;
                kept.error.clear();
                return kept;
            }()));
    return 0;
}
