// SPDX-License-Identifier: MIT
#pragma once

#include <openssl/evp.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace tlsfs {

// The digest of a list of fields.
class Sha256 {
 public:
    Sha256();
    Sha256(const Sha256&) = delete;
    Sha256& operator=(const Sha256&) = delete;
    ~Sha256() { EVP_MD_CTX_free(context_); }

    // The length goes in first, so that neighbouring fields cannot be taken for one another.
    void add(const void* data, std::size_t size);
    void add(std::string_view text) { add(text.data(), text.size()); }
    [[nodiscard]] std::string finish();  // in hexadecimal digits

 private:
    EVP_MD_CTX* context_;
};

}  // namespace tlsfs
