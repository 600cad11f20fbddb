// SPDX-License-Identifier: MIT
// Rules that say which verified client a server lets in: `allow` of tls(4).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace tlsfs {

// A name in a certificate, and what it must look like. A * stands for one or more characters, but
// for no separator of its kind:
//   cn, dns  a dot
//   email    the @, and behind it a dot
//   uri      up to the path a dot and any of / : @, then any of / ? #
struct AllowRule {
    enum class Kind : std::uint8_t { common_name, dns, uri, email };
    Kind kind = Kind::common_name;
    std::string pattern;
    bool operator==(const AllowRule&) const = default;
};

// "cn:", "dns:", "uri:" or "email:" and a pattern. EINVAL for anything else.
[[nodiscard]] Result<AllowRule> parse_allow_rule(std::string_view word);

// DNS names, and domains of email addresses, are compared without case.
[[nodiscard]] bool matches(const AllowRule& rule, std::string_view name);

}  // namespace tlsfs
