// SPDX-License-Identifier: MIT
// Reading the files of a mount: N/status, N/stats, N/peer. What comes out is printable ASCII,
// whatever stood in the files.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "mount.h"

namespace tlsfs::cmd {

// A connection at one moment.
struct Seen {
    unsigned number = 0;
    std::map<std::string, std::string> status;
    std::map<std::string, std::uint64_t> stats;

    // Empty, 0: not known.
    [[nodiscard]] std::string tag(const std::string& name) const;
    [[nodiscard]] std::uint64_t count(const std::string& name) const;
};

class Tree {
 public:
    // The first mount that programs would find. Starts none.
    [[nodiscard]] static Result<Tree> find();

    // All that the caller may see, in the order of their numbers. What ends meanwhile is left out.
    [[nodiscard]] Result<std::vector<Seen>> look() const;
    [[nodiscard]] Result<Seen> look(unsigned number) const;
    // The peer's certificates as PEM: what the peer sent, not made printable.
    [[nodiscard]] Result<std::string> chain(unsigned number) const;

 private:
    explicit Tree(internal::Mount mount) : mount_(std::move(mount)) {}
    [[nodiscard]] Result<std::string> read(unsigned number, const char* name) const;

    internal::Mount mount_;
};

// All but printable ASCII replaced by '?'.
[[nodiscard]] std::string plain(std::string text);

}  // namespace tlsfs::cmd
