// SPDX-License-Identifier: MIT
// Memory for private keys: wiped wherever it is given back, also when it grows.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <vector>

namespace tlsfs {

template <class T>
struct WipingAllocator {
    using value_type = T;

    WipingAllocator() = default;
    template <class U>
    explicit WipingAllocator(const WipingAllocator<U>&) noexcept {}

    T* allocate(std::size_t count) { return std::allocator<T>{}.allocate(count); }
    void deallocate(T* memory, std::size_t count) noexcept {
        explicit_bzero(memory, count * sizeof(T));
        std::allocator<T>{}.deallocate(memory, count);
    }
    bool operator==(const WipingAllocator&) const = default;
};

// A vector, not a string: a short std::string lives inside the object, where no allocator wipes it.
using SecretBytes = std::vector<char, WipingAllocator<char>>;

}  // namespace tlsfs
