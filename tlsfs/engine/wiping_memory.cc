// SPDX-License-Identifier: MIT
#include "engine/wiping_memory.h"

#include <malloc.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace tlsfs {
namespace {

thread_local int open_scopes = 0;

// More than any call chain of OpenSSL's decoders was seen to use.
constexpr std::size_t kStackDepth = 64U << 10U;

// The stack below the caller, and the vector registers that memcpy(3) left the last bytes in: the
// dynamic linker saves those on the stack when it looks up a function at its first call.
[[gnu::noinline]] void wipe_stack_and_registers() {
    std::array<char, kStackDepth> below;
    explicit_bzero(below.data(), below.size());
    char* const half = below.data() + below.size() / 2;
    for (std::size_t size = 16; size <= below.size() / 2; size *= 2) {
        std::memcpy(half, below.data(), size);
        explicit_bzero(half, size);
    }
}

void* allocate(std::size_t size, const char*, int) {
    return size == 0 ? nullptr : std::malloc(size);
}

void release(void* memory, const char*, int) {
    if (memory != nullptr && open_scopes > 0) explicit_bzero(memory, malloc_usable_size(memory));
    std::free(memory);
}

void* reallocate(void* memory, std::size_t size, const char* file, int line) {
    if (open_scopes == 0 || memory == nullptr) return std::realloc(memory, size);
    // realloc(3) would leave the old place as it was.
    void* const moved = allocate(size, file, line);
    if (moved == nullptr && size > 0) return nullptr;
    if (moved != nullptr) std::memcpy(moved, memory, std::min(size, malloc_usable_size(memory)));
    release(memory, file, line);
    return moved;
}

}  // namespace

void install_wiping_memory() {
    if (CRYPTO_set_mem_functions(allocate, reallocate, release) != 1) {
        throw std::logic_error("OpenSSL has allocated memory already");
    }
}

WipeScope::WipeScope() {
    ++open_scopes;
}
WipeScope::~WipeScope() {
    if (--open_scopes == 0) wipe_stack_and_registers();
}

}  // namespace tlsfs
