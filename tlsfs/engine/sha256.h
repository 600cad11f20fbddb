// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "engine/openssl_ptr.h"

namespace tlsfs {

// The digest of a list of fields.
class Sha256 {
 public:
    Sha256();  // std::bad_alloc, as the others, if OpenSSL cannot

    // The length goes in first, so that neighbouring fields cannot be taken for one another.
    void add(const void* data, std::size_t size);
    void add(std::string_view text) { add(text.data(), text.size()); }
    [[nodiscard]] std::string finish();  // in hexadecimal digits

 private:
    DigestPtr context_;
};

}  // namespace tlsfs
