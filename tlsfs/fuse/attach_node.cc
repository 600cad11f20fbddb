// SPDX-License-Identifier: MIT
#include "fuse/attach_node.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/unique_fd.h"
#include "io/bind.h"

namespace tlsfs {
namespace {

// The child of a process with threads: only system calls from here on.
int bind_in(int socket, const char* mount_point) {
    const int root = ::open(mount_point, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) return errno;
    const int code = bind_in_directory(socket, root, "attach");
    ::close(root);
    return code;
}

int bind_apart(int socket, const char* mount_point, int go) {
    eventfd_t told = 0;
    if (eventfd_read(go, &told) != 0) return 1;
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return 1;
    // Not "/", which is no mount point in most chroots.
    if (mount(nullptr, mount_point, nullptr, MS_PRIVATE, nullptr) != 0) return 1;
    return bind_in(socket, mount_point) == 0 ? 0 : 1;
}

}  // namespace

// A bound socket keeps the mount busy that it was bound through, and umount(8) would refuse. So a
// child binds it through a copy of the mount, in a mount namespace that ends with the child.
Result<> AttachNode::bind(int socket, const std::string& mount_point) {
    const UniqueFd go(eventfd(0, EFD_CLOEXEC));
    if (!go.valid()) return system_failure("attach: eventfd");
    const pid_t child = fork();
    if (child < 0) return system_failure("attach: fork");
    if (child == 0) _exit(bind_apart(socket, mount_point.c_str(), go.get()));
    binder_ = child;
    eventfd_write(go.get(), 1);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        binder_ = 0;
        return {};
    }
    // Without namespaces the mount stays busy until we end, or it is unmounted lazily.
    binder_ = gettid();
    const int code = bind_in(socket, mount_point.c_str());
    binder_ = 0;
    if (code == 0) return {};
    return failure(code, fmt::format("attach: {}", std::strerror(code)));
}

bool AttachNode::binding(pid_t thread) {
    if (thread == 0 || thread != binder_) return false;
    bound_ = true;
    return true;
}

}  // namespace tlsfs
