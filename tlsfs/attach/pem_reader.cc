// SPDX-License-Identifier: MIT
#include "attach/pem_reader.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace tlsfs {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kPiece = 64 << 10;  // bytes

// A blocking descriptor is not read before it has something.
Result<> wait_until_readable(int fd, steady_clock::time_point deadline,
                             const Cancellation& cancellation) {
    std::array entries{pollfd{fd, POLLIN, 0}, pollfd{cancellation.fd(), POLLIN, 0}};
    int ready = -1;
    do {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now());
        const auto patience = std::clamp<std::int64_t>(left.count(), 0, 3'600'000);
        ready = poll(entries.data(), entries.size(), static_cast<int>(patience));
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) return system_failure("attach: poll");
    if (ready == 0) return failure(ETIMEDOUT, "attach: a descriptor with PEM has no end");
    if (entries[1].revents != 0) return failure(ECANCELED, "attach: the guest has gone");
    return {};
}

}  // namespace

Result<SecretBytes> read_pem(const UniqueFd& fd, std::size_t most,
                             steady_clock::time_point deadline, const Cancellation& cancellation) {
    SecretBytes all;
    for (;;) {
        if (auto ready = wait_until_readable(fd.get(), deadline, cancellation); !ready) {
            return tl::unexpected(ready.error());
        }
        const std::size_t before = all.size();
        all.resize(before + kPiece);
        const ssize_t got = read(fd.get(), all.data() + before, kPiece);
        all.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got == 0) return all;
        if (got < 0 && errno != EAGAIN && errno != EINTR) return system_failure("attach: PEM");
        if (all.size() > most)
            return failure(EFBIG, fmt::format("attach: PEM of more than {} bytes", most));
    }
}

}  // namespace tlsfs
