// SPDX-License-Identifier: MIT
// What stands behind an open file of the tree: FUSE's `fh`.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "connection/connection.h"
#include "connection/registry.h"
#include "fuse/lowlevel.h"

namespace tlsfs {

// Each call answers its request, now or later.
class OpenFile {
 public:
    explicit OpenFile(std::uint32_t open_flags) : open_flags_(open_flags) {}
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;
    virtual ~OpenFile() = default;  // RELEASE: the last close of this open file

    [[nodiscard]] std::uint32_t open_flags() const { return open_flags_; }  // FOPEN_…

    virtual void read(fuse_req_t req, std::size_t size, off_t offset, bool nonblocking);
    virtual void write(fuse_req_t req, std::span<const std::byte> data, bool nonblocking);
    virtual void flush(fuse_req_t req);
    virtual void poll(fuse_req_t req, std::uint32_t wanted, std::unique_ptr<Poller> poller);

 private:
    std::uint32_t open_flags_;
};

// Those that the kernel holds, by the `fh` that it knows them by: their address.
class OpenFiles {
 public:
    std::uint64_t add(std::unique_ptr<OpenFile> file) {
        const auto fh = reinterpret_cast<std::uintptr_t>(file.get());
        const std::scoped_lock guard(lock_);
        files_.emplace(fh, std::move(file));
        return fh;
    }
    void remove(std::uint64_t fh) {
        std::unique_ptr<OpenFile> last;  // destroyed without the lock
        const std::scoped_lock guard(lock_);
        const auto found = files_.find(fh);
        if (found == files_.end()) return;
        last = std::move(found->second);
        files_.erase(found);
    }
    // For the end, when no RELEASE will come any more.
    void clear() {
        const std::scoped_lock guard(lock_);
        files_.clear();
    }

 private:
    std::mutex lock_;
    std::unordered_map<std::uint64_t, std::unique_ptr<OpenFile>> files_;
};

// The connection has been opened() for these two; they release it.
[[nodiscard]] std::unique_ptr<OpenFile> open_ctl(Registry& registry,
                                                 std::shared_ptr<Connection> connection,
                                                 Caller opener);
[[nodiscard]] std::unique_ptr<OpenFile> open_data(Registry& registry,
                                                  std::shared_ptr<Connection> connection);
[[nodiscard]] std::unique_ptr<OpenFile> open_pem(std::shared_ptr<Connection> connection,
                                                 PemFile file);
[[nodiscard]] std::unique_ptr<OpenFile> open_text(std::string text);

}  // namespace tlsfs
