// SPDX-License-Identifier: MIT
#include "fuse/mount_watch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <array>

namespace tlsfs {

Result<std::shared_ptr<MountWatch>> MountWatch::start(Reactor& reactor,
                                                      const std::string& mount_point,
                                                      std::function<void()> gone) {
    auto watch = std::make_shared<MountWatch>();
    struct statx info{};
    const int flags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
    if (statx(AT_FDCWD, mount_point.c_str(), flags, STATX_MNT_ID, &info) != 0) {
        return system_failure(mount_point);
    }
    watch->id_ = info.stx_mnt_id;
    watch->mounts_ = UniqueFd(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
    if (!watch->mounts_.valid()) return system_failure("/proc/self/mountinfo");
    watch->gone_ = std::move(gone);
    const std::scoped_lock guard(watch->lock_);
    watch->watch_ = Reactor::Watch(reactor, watch->mounts_.get(), watch);
    watch->watch_.arm(EPOLLPRI);
    return watch;
}

bool MountWatch::listed() const {
    std::string text;
    std::array<char, 4096> buffer;
    lseek(mounts_.get(), 0, SEEK_SET);
    for (ssize_t got = 0; (got = read(mounts_.get(), buffer.data(), buffer.size())) > 0;) {
        text.append(buffer.data(), static_cast<std::size_t>(got));
    }
    const std::string line = fmt::format("{} ", id_);
    return text.starts_with(line) || text.find("\n" + line) != std::string::npos;
}

void MountWatch::ready(int) {
    if (!listed()) return gone_();
    const std::scoped_lock guard(lock_);
    watch_.fired();
    watch_.arm(EPOLLPRI);
}

}  // namespace tlsfs
