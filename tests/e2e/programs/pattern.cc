// SPDX-License-Identifier: MIT
// A program that knows nothing of TLS: it writes a pattern to descriptor 1, checks one on
// descriptor 0, or does both at once in two threads. Exit 0 when every byte was right and the
// stream ended where it should.
//
//     pattern write BYTES [BLOCK]
//     pattern check BYTES [BLOCK]
//     pattern both BYTES [BLOCK]

#include "pattern.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

namespace {

bool write_pattern(std::uint64_t bytes, std::size_t block) {
    std::vector<char> buffer(block);
    std::uint64_t done = 0;
    while (done < bytes) {
        const std::size_t size = std::min<std::uint64_t>(block, bytes - done);
        pattern::fill(done, std::span(buffer).first(size));
        const ssize_t count = write(STDOUT_FILENO, buffer.data(), size);
        if (count <= 0) {
            std::fprintf(stderr, "write at %ju: %s\n", std::uintmax_t{done}, std::strerror(errno));
            return false;
        }
        done += static_cast<std::uint64_t>(count);
    }
    return true;
}

// With `to_end` the stream must end after `bytes`.
bool check_pattern(std::uint64_t bytes, std::size_t block, bool to_end) {
    std::vector<char> buffer(block);
    pattern::Checker checker;
    while (to_end || checker.offset() < bytes) {
        const ssize_t count = read(STDIN_FILENO, buffer.data(), buffer.size());
        if (count < 0) {
            std::fprintf(stderr, "read at %ju: %s\n", std::uintmax_t{checker.offset()},
                         std::strerror(errno));
            return false;
        }
        if (count == 0) break;
        if (!checker.accept(std::span(buffer).first(static_cast<std::size_t>(count)))) {
            std::fprintf(stderr, "wrong bytes at %ju\n", std::uintmax_t{checker.offset()});
            return false;
        }
    }
    if (checker.offset() != bytes)
        std::fprintf(stderr, "ended after %ju bytes\n", std::uintmax_t{checker.offset()});
    return checker.offset() == bytes;
}

bool both(std::uint64_t bytes, std::size_t block) {
    bool wrote = false;
    std::thread writer([&] { wrote = write_pattern(bytes, block); });
    const bool checked = check_pattern(bytes, block, false);
    writer.join();
    return wrote && checked;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view what = argc > 2 ? argv[1] : "";
    const std::uint64_t bytes = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
    const std::size_t block = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1 << 20;
    if (block == 0) return 100;
    if (what == "write") return write_pattern(bytes, block) ? 0 : 1;
    if (what == "check") return check_pattern(bytes, block, true) ? 0 : 1;
    if (what == "both") return both(bytes, block) ? 0 : 1;
    std::fprintf(stderr, "usage: pattern write|check|both BYTES [BLOCK]\n");
    return 100;
}
