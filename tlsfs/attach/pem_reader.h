// SPDX-License-Identifier: MIT
// Reading certificates and keys from descriptors of guests, which may be anything.
#pragma once

#include <chrono>
#include <vector>

#include "core/result.h"
#include "core/secret.h"
#include "core/unique_fd.h"

namespace tlsfs {

class PemReader {
 public:
    enum class Progress : std::uint8_t { done, waiting, failed };
    static constexpr std::chrono::seconds kPatience{30};  // for all of them

    // Each is one text of at most `most` bytes.
    PemReader(std::vector<UniqueFd> fds, std::size_t most) : fds_(std::move(fds)), most_(most) {}

    // Reads what is there, on a background thread. It is soon `waiting` where a writer lets us
    // wait, so that the thread is free for others; a file system that never answers keeps it.
    [[nodiscard]] Progress go_on();

    [[nodiscard]] const std::vector<SecretBytes>& texts() const { return texts_; }
    // After `failed`: EFBIG, ETIMEDOUT, what read(2) says.
    [[nodiscard]] const Error& error() const { return error_; }

 private:
    [[nodiscard]] Progress read_one(const UniqueFd& fd, SecretBytes& text);
    [[nodiscard]] Progress fail(Error error);

    std::vector<UniqueFd> fds_;
    const std::size_t most_;
    const std::chrono::steady_clock::time_point deadline_ =
        std::chrono::steady_clock::now() + kPatience;
    std::vector<SecretBytes> texts_;  // the last one may not be whole yet
    std::size_t done_ = 0;            // how many are
    Error error_;
};

}  // namespace tlsfs
