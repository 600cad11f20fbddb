// SPDX-License-Identifier: MIT
// Bytes in, bytes out, in order. Holds no memory while empty: ten thousand idle connections have
// twenty thousand of these.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>

namespace tlsfs {

class ByteQueue {
 public:
    ByteQueue() = default;
    ByteQueue(ByteQueue&& other) noexcept { swap(other); }
    ByteQueue& operator=(ByteQueue&& other) noexcept {
        ByteQueue(std::move(other)).swap(*this);
        return *this;
    }
    ByteQueue(const ByteQueue&) = delete;
    ByteQueue& operator=(const ByteQueue&) = delete;

    void swap(ByteQueue& other) noexcept {
        memory_.swap(other.memory_);
        std::swap(begin_, other.begin_);
        std::swap(end_, other.end_);
        std::swap(capacity_, other.capacity_);
    }

    [[nodiscard]] std::size_t size() const { return end_ - begin_; }
    [[nodiscard]] bool empty() const { return begin_ == end_; }

    // What is in the queue, oldest first; valid until the next change.
    [[nodiscard]] std::span<const std::byte> bytes() const {
        return {memory_.get() + begin_, size()};
    }

    void consume(std::size_t count) {
        begin_ += count;
        if (begin_ != end_) return;
        begin_ = end_ = capacity_ = 0;
        memory_.reset();
    }

    // Room for at least `count` bytes behind the last; commit() says how many were put there.
    [[nodiscard]] std::span<std::byte> prepare(std::size_t count) {
        if (capacity_ - end_ < count) grow(count);
        return {memory_.get() + end_, capacity_ - end_};
    }
    void commit(std::size_t count) {
        end_ += count;
        if (begin_ == end_) consume(0);
    }

    void append(std::span<const std::byte> more) {
        if (more.empty()) return;
        std::memcpy(prepare(more.size()).data(), more.data(), more.size());
        commit(more.size());
    }

 private:
    void grow(std::size_t count) {
        const std::size_t used = size();
        const std::size_t wanted = used + std::max(count, std::min(used, kGentleGrowth));
        auto memory = std::make_unique_for_overwrite<std::byte[]>(wanted);
        if (used > 0) std::memcpy(memory.get(), memory_.get() + begin_, used);
        memory_ = std::move(memory);
        capacity_ = wanted;
        begin_ = 0;
        end_ = used;
    }

    static constexpr std::size_t kGentleGrowth = 2U << 20U;  // doubling becomes adding here

    std::unique_ptr<std::byte[]> memory_;
    std::size_t begin_ = 0, end_ = 0, capacity_ = 0;
};

}  // namespace tlsfs
