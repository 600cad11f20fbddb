// SPDX-License-Identifier: MIT
// The grammar of an identity's file: no bytes break it, errors are one line and printable, and what
// is taken is whole.
#include <algorithm>

#include "keys/identity_file.h"
#include "require.h"

using namespace tlsfs;
using namespace tlsfs::keys;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto file = parse_identity_file({reinterpret_cast<const char*>(data), size});
    if (!file) {
        const auto plain = [](char c) { return c >= 0x20 && c < 0x7f; };
        REQUIRE(!file.error().text.empty() && std::ranges::all_of(file.error().text, plain));
        return 0;
    }
    REQUIRE(file->cert.starts_with('/'));
    REQUIRE(!file->key.place.empty());
    REQUIRE((file->key.where == KeyPlace::Where::file) == file->key.place.starts_with('/'));
    REQUIRE(!file->roles.empty());
    REQUIRE(file->users.size() <= kMaxUsers);
    return 0;
}
