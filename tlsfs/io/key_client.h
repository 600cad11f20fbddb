// SPDX-License-Identifier: MIT
// The way to tlskeyd(8). A call waits for the answer: some microseconds where the key is in a file,
// as long as the token takes where it is in one. It gives up when connecting, sending or the answer
// takes longer than kPatience. Whoever calls holds up what its thread serves for that time.
#pragma once

#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include "core/key_message.h"
#include "core/unique_fd.h"

namespace tlsfs {

class KeyClient {
 public:
    static constexpr std::chrono::seconds kPatience{5};

    explicit KeyClient(std::string path = kUsualKeySocket) : path_(std::move(path)) {}

    void set_path(std::string path);

    // tlskeyd's error, or ENODEV: it cannot be reached; ETIMEDOUT: it does not answer.
    [[nodiscard]] Result<Bytes> ask(const KeyRequest& request);

 private:
    static constexpr std::size_t kMaxIdle = 32;

    // A connection, and whether it was used before: then tlskeyd may have ended meanwhile.
    struct Line {
        UniqueFd fd;
        bool used = false;
    };
    [[nodiscard]] Result<Line> take_line();
    [[nodiscard]] Result<Bytes> ask_once(const Line& line, ByteView message) const;
    void give_back(UniqueFd fd);
    void hang_up();

    std::mutex lock_;  // guards all below; nothing waits under it
    std::string path_;
    std::vector<UniqueFd> idle_;
};

}  // namespace tlsfs
