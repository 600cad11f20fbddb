// SPDX-License-Identifier: MIT
// Giving a socket its name in the file system.
#pragma once

#include <sys/types.h>

#include <string>

#include "core/result.h"

namespace tlsfs {

// An errno, or 0. Any directory will do, however long its path. Only system calls: for a child of
// a process with threads, too.
[[nodiscard]] int bind_in_directory(int socket, int directory, const char* name);

// A socket at a path of the file system, for as long as this object lives.
class BoundPath {
 public:
    // Nobody can connect before listen(2), and then only who `mode` lets. What a dead companion has
    // left is replaced. EADDRINUSE: a living one has it; EEXIST: there is something else.
    [[nodiscard]] static Result<BoundPath> bind(int socket, const std::string& path, mode_t mode);
    BoundPath(BoundPath&& other) noexcept = default;
    BoundPath& operator=(BoundPath&& other) noexcept = default;
    BoundPath(const BoundPath&) = delete;
    BoundPath& operator=(const BoundPath&) = delete;
    ~BoundPath();

 private:
    BoundPath() = default;
    std::string path_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

}  // namespace tlsfs
