// SPDX-License-Identifier: MIT
// Bytes that are no text, and reading numbers (big end first) from them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace tlsfs {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

// Takes pieces off the front. What is not there is nullopt, and nothing is taken.
class ByteReader {
 public:
    explicit ByteReader(ByteView bytes) : rest_(bytes) {}

    [[nodiscard]] ByteView rest() const { return rest_; }
    [[nodiscard]] bool empty() const { return rest_.empty(); }

    std::optional<ByteView> take(std::size_t size) {
        if (rest_.size() < size) return std::nullopt;
        const ByteView taken = rest_.first(size);
        rest_ = rest_.subspan(size);
        return taken;
    }
    // A number of `size` bytes, at most 4.
    std::optional<std::uint32_t> number(std::size_t size) {
        const auto taken = take(size);
        if (!taken) return std::nullopt;
        std::uint32_t value = 0;
        for (const std::uint8_t byte : *taken) value = value << 8U | byte;
        return value;
    }
    // As many bytes as the number of `size` bytes before them says.
    std::optional<ByteView> counted(std::size_t size) {
        const ByteReader before = *this;
        const auto count = number(size);
        if (!count) return std::nullopt;
        const auto taken = take(*count);
        if (!taken) *this = before;
        return taken;
    }

 private:
    ByteView rest_;
};

inline void append_bytes(Bytes& to, ByteView bytes) {
    to.insert(to.end(), bytes.begin(), bytes.end());
}

// The lowest `size` bytes of it, at most 4.
inline void append_number(Bytes& to, std::uint32_t value, std::size_t size) {
    for (std::size_t i = size; i-- > 0;) {
        to.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    }
}

inline void append_counted(Bytes& to, ByteView bytes, std::size_t size) {
    append_number(to, static_cast<std::uint32_t>(bytes.size()), size);
    append_bytes(to, bytes);
}

}  // namespace tlsfs
