// SPDX-License-Identifier: MIT
#include "pem_copy.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "retry.h"

namespace tlsfs::internal {
namespace {

using Copied = tl::expected<void, CopyFailure>;
using At = CopyFailure::At;

constexpr std::size_t kChunk = 64UL * 1024;  // what a pipe holds

tl::unexpected<CopyFailure> failed(At at) {
    return tl::unexpected(CopyFailure{at, errno});
}

Copied drain(int pipe, int destination, std::size_t size) {
    while (size > 0) {
        const ssize_t moved = uninterrupted(
            [&] { return splice(pipe, nullptr, destination, nullptr, size, SPLICE_F_MOVE); });
        if (moved < 0) return failed(At::destination);
        size -= static_cast<std::size_t>(moved);
    }
    return {};
}

// sendfile(2) would do, but its EINVAL may come from either file: the one that cannot be sent from
// or the one whose companion did not like the text. Through a pipe of our own each end says it
// alone.
Copied copy_by_splice(int source, int destination) {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) return failed(At::source);
    const UniqueFd out(ends[0]);
    const UniqueFd in(ends[1]);
    for (;;) {
        const ssize_t size = uninterrupted(
            [&] { return splice(source, nullptr, in.get(), nullptr, kChunk, SPLICE_F_MOVE); });
        if (size < 0) return failed(At::source);
        if (size == 0) return {};
        const auto drained = drain(out.get(), destination, static_cast<std::size_t>(size));
        if (!drained) return drained;
    }
}

struct WipedBuffer {
    std::array<char, 4096> bytes{};
    WipedBuffer() = default;
    WipedBuffer(const WipedBuffer&) = delete;
    WipedBuffer& operator=(const WipedBuffer&) = delete;
    ~WipedBuffer() { explicit_bzero(bytes.data(), bytes.size()); }
};

// For the sources that cannot be spliced, a tty and some of the kernel's own files.
Copied copy_by_hand(int source, int destination) {
    WipedBuffer buffer;
    for (;;) {
        const ssize_t size =
            uninterrupted([&] { return read(source, buffer.bytes.data(), buffer.bytes.size()); });
        if (size < 0) return failed(At::source);
        if (size == 0) return {};
        for (ssize_t done = 0; done < size;) {
            const ssize_t written = uninterrupted([&] {
                return write(destination, buffer.bytes.data() + done,
                             static_cast<std::size_t>(size - done));
            });
            if (written < 0) return failed(At::destination);
            done += written;
        }
    }
}

Copied copy(int source, int destination) {
    const auto copied = copy_by_splice(source, destination);
    if (copied || copied.error().at == At::destination || copied.error().code != EINVAL) {
        return copied;
    }
    return copy_by_hand(source, destination);
}

}  // namespace

Copied copy_pem(int source, UniqueFd destination) {
    const auto copied = copy(source, destination.get());
    // An interrupted close has closed; bad text then is client's or server's to refuse.
    if (close(destination.release()) != 0 && errno != EINTR && copied) {
        return failed(At::destination);
    }
    return copied;
}

}  // namespace tlsfs::internal
