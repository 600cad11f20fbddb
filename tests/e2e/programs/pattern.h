// SPDX-License-Identifier: MIT
// A stream whose every byte tells where it belongs: 64-bit words that count up, little end first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace pattern {

constexpr std::size_t word = sizeof(std::uint64_t);

// Writes the bytes that stand at `offset` of the stream.
inline void fill(std::uint64_t offset, std::span<char> out) {
    std::size_t done = 0;
    while (done < out.size()) {
        const std::uint64_t at = offset + done;
        const std::uint64_t value = at / word;
        const std::size_t skip = at % word;
        const std::size_t count = std::min(word - skip, out.size() - done);
        std::memcpy(out.data() + done, reinterpret_cast<const char*>(&value) + skip, count);
        done += count;
    }
}

// Checks a stream as it comes, in pieces of any size.
class Checker {
 public:
    // False when the piece is not what belongs there.
    bool accept(std::span<const char> piece) {
        expected_.resize(piece.size());
        fill(offset_, expected_);
        if (std::memcmp(expected_.data(), piece.data(), piece.size()) != 0) return false;
        offset_ += piece.size();
        return true;
    }
    std::uint64_t offset() const { return offset_; }

 private:
    std::uint64_t offset_ = 0;
    std::vector<char> expected_;
};

}  // namespace pattern
