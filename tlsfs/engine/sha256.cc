// SPDX-License-Identifier: MIT
#include "engine/sha256.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

namespace tlsfs {

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
    EVP_DigestInit_ex(context_, EVP_sha256(), nullptr);
}

void Sha256::add(const void* data, std::size_t size) {
    EVP_DigestUpdate(context_, &size, sizeof size);
    EVP_DigestUpdate(context_, data, size);
}

std::string Sha256::finish() {
    std::array<unsigned char, 32> digest{};
    EVP_DigestFinal_ex(context_, digest.data(), nullptr);
    return fmt::format("{:02x}", fmt::join(digest, ""));
}

}  // namespace tlsfs
