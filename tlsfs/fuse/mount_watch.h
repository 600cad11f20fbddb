// SPDX-License-Identifier: MIT
// Notices that the mount is no longer where it was. The kernel tells FUSE only when the last open
// file is gone as well.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "core/result.h"
#include "core/unique_fd.h"
#include "io/reactor.h"

namespace tlsfs {

class MountWatch final : public Reactor::Handler, public std::enable_shared_from_this<MountWatch> {
 public:
    // Calls `gone` once, on a thread of the reactor.
    [[nodiscard]] static Result<std::shared_ptr<MountWatch>> start(Reactor& reactor,
                                                                   const std::string& mount_point,
                                                                   std::function<void()> gone);
    void stop() {
        const std::scoped_lock guard(lock_);
        watch_.reset();
    }

    void ready(int fd) override;

 private:
    [[nodiscard]] bool listed() const;

    UniqueFd mounts_;  // /proc/self/mountinfo: POLLPRI when it changed, proc(5)
    std::uint64_t id_ = 0;
    std::function<void()> gone_;

    std::mutex lock_;  // guards the watch: an event may come before arm() has returned
    Reactor::Watch watch_;
};

}  // namespace tlsfs
