// SPDX-License-Identifier: MIT
// Plaintext bytes in a stream of TLS 1.3 records, told by their headers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace bench {

class RecordCounter {
 public:
    // How many bytes of plaintext the records that ended in this piece held.
    std::uint64_t take(std::span<const unsigned char> piece) {
        std::uint64_t plain = 0;
        while (!piece.empty()) {
            if (header_ < sizeof header_bytes_) {
                header_bytes_[header_++] = piece.front();
                piece = piece.subspan(1);
                if (header_ == sizeof header_bytes_)
                    left_ = length_ = std::size_t{header_bytes_[3]} << 8 | header_bytes_[4];
                continue;
            }
            const std::size_t here = std::min(left_, piece.size());
            left_ -= here;
            piece = piece.subspan(here);
            if (left_ > 0) break;
            plain += length_ - kOverhead;
            header_ = 0;
        }
        return plain;
    }

 private:
    static constexpr std::size_t kOverhead = 17;  // the content type and the tag
    unsigned char header_bytes_[5] = {};
    std::size_t header_ = 0, length_ = 0, left_ = 0;
};

}  // namespace bench
