// SPDX-License-Identifier: MIT
#include "engine/sha256.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <new>

namespace tlsfs {

namespace {

// A digest that was not made must not be taken for one: they decide who shares what.
void require(int done) {
    if (done != 1) throw std::bad_alloc();
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
    require(context_ != nullptr ? EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) : 0);
}

void Sha256::add(const void* data, std::size_t size) {
    require(EVP_DigestUpdate(context_.get(), &size, sizeof size));
    require(EVP_DigestUpdate(context_.get(), data, size));
}

std::string Sha256::finish() {
    std::array<unsigned char, 32> digest{};
    require(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr));
    return fmt::format("{:02x}", fmt::join(digest, ""));
}

}  // namespace tlsfs
