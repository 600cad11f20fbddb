// SPDX-License-Identifier: MIT
#include "fuse/unmounter.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

namespace tlsfs {
namespace {

void leave_everything(int tie) {
    setsid();
    prctl(PR_SET_NAME, "unmounter");
    for (const int number : {SIGHUP, SIGINT, SIGTERM}) signal(number, SIG_IGN);
    const int nothing = open("/dev/null", O_RDWR);
    for (const int standard : {0, 1, 2}) dup2(nothing, standard);
    const auto first = static_cast<unsigned>(std::max(tie, 3));
    if (first > 3) close_range(3, first - 1, 0);
    close_range(first + 1, ~0U, 0);
    if (chdir("/") != 0) _exit(1);
}

void wait_for_end_of(int tie) {
    char none = 0;
    while (read(tie, &none, 1) < 0 && errno == EINTR) continue;
}

void unmount(const std::string& mount_point) {
    if (umount2(mount_point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return;
    const pid_t child = fork();
    if (child == 0) {
        execlp("fusermount3", "fusermount3", "-u", "-q", "-z", "--", mount_point.c_str(), nullptr);
        _exit(127);
    }
    if (child > 0) waitpid(child, nullptr, 0);
}

}  // namespace

void clear_dead_mount(const std::string& mount_point) {
    constexpr int kLooks = 50;
    constexpr timespec kPause{0, 100'000'000};
    struct statfs info{};
    for (int look = 0; look < kLooks; ++look) {
        // Not stat(2): that is answered from what the kernel still knows of the dead.
        if (statfs(mount_point.c_str(), &info) == 0) return;
        if (errno == ENOENT || errno == EACCES || errno == ENOTDIR) return;
        if (errno == ENOTCONN) return unmount(mount_point);
        // Dying, and not yet dead: what we asked was broken off (ECONNABORTED).
        nanosleep(&kPause, nullptr);
    }
}

Result<UniqueFd> unmount_after_death(const std::string& mount_point) {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) return system_failure("pipe2");
    UniqueFd theirs(ends[0]), ours(ends[1]);
    const pid_t child = fork();
    if (child < 0) return system_failure("fork");
    if (child > 0) return ours;
    leave_everything(theirs.get());
    wait_for_end_of(theirs.get());
    clear_dead_mount(mount_point);
    _exit(0);
}

}  // namespace tlsfs
