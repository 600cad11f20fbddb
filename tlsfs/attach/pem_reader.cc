// SPDX-License-Identifier: MIT
#include "attach/pem_reader.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>

namespace tlsfs {
namespace {
constexpr std::size_t kPiece = 64 << 10;  // bytes
constexpr int kWait = 20;                 // ms
}  // namespace

PemReader::Progress PemReader::go_on() {
    texts_.resize(fds_.size());
    while (done_ < fds_.size()) {
        const Progress progress = read_one(fds_[done_], texts_[done_]);
        if (progress != Progress::done) return progress;
        fds_[done_++].reset();
    }
    return Progress::done;
}

PemReader::Progress PemReader::read_one(const UniqueFd& fd, SecretBytes& text) {
    for (;;) {
        // One that blocks is not read before it has something.
        pollfd entry{fd.get(), POLLIN, 0};
        const int ready = poll(&entry, 1, kWait);
        if (std::chrono::steady_clock::now() > deadline_) {
            return fail({ETIMEDOUT, "attach: a descriptor with PEM has no end"});
        }
        if (ready == 0) return Progress::waiting;
        if (ready < 0) continue;
        const std::size_t before = text.size();
        text.resize(before + kPiece);
        const ssize_t got = read(fd.get(), text.data() + before, kPiece);
        const int code = errno;
        text.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got == 0) return Progress::done;
        if (got < 0 && code != EAGAIN && code != EINTR) {
            return fail({code, fmt::format("attach: PEM: {}", std::strerror(code))});
        }
        if (text.size() > most_) {
            return fail({EFBIG, fmt::format("attach: PEM of more than {} bytes", most_)});
        }
    }
}

PemReader::Progress PemReader::fail(Error error) {
    error_ = std::move(error);
    return Progress::failed;
}

}  // namespace tlsfs
