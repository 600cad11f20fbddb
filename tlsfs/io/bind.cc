// SPDX-License-Identifier: MIT
#include "io/bind.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstdio>

#include "core/unique_fd.h"

namespace tlsfs {
namespace {

struct Place {
    std::string directory, name;
};

Place split(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return {".", path};
    return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

// Relative, because sun_path holds 107 bytes and a path may be longer; and through a descriptor,
// because the current directory is the whole process's.
bool set_name(sockaddr_un& address, int directory, const char* name) {
    address.sun_family = AF_UNIX;
    const int length = std::snprintf(address.sun_path, sizeof address.sun_path,
                                     "/proc/self/fd/%d/%s", directory, name);
    return length > 0 && static_cast<std::size_t>(length) < sizeof address.sun_path;
}

bool somebody_listens(int directory, const char* name) {
    sockaddr_un address{};
    if (!set_name(address, directory, name)) return false;
    const UniqueFd probe(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto* to = reinterpret_cast<const sockaddr*>(&address);
    return connect(probe.get(), to, sizeof address) == 0 || errno != ECONNREFUSED;
}

Result<> remove_dead(int directory, const std::string& name, const std::string& path) {
    struct stat info{};
    if (fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return {};
    if (!S_ISSOCK(info.st_mode)) return failure(EEXIST, path + " is no socket");
    if (somebody_listens(directory, name.c_str())) {
        return failure(EADDRINUSE, path + " is served already");
    }
    if (unlinkat(directory, name.c_str(), 0) != 0) return system_failure(path);
    return {};
}

}  // namespace

int bind_in_directory(int socket, int directory, const char* name) {
    sockaddr_un address{};
    if (!set_name(address, directory, name)) return ENAMETOOLONG;
    const auto* at = reinterpret_cast<const sockaddr*>(&address);
    return ::bind(socket, at, sizeof address) == 0 ? 0 : errno;
}

Result<BoundPath> BoundPath::bind(int socket, const std::string& path, mode_t mode) {
    const Place place = split(path);
    const UniqueFd directory(open(place.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid()) return system_failure(place.directory);
    if (auto free = remove_dead(directory.get(), place.name, path); !free) {
        return tl::unexpected(free.error());
    }
    errno = bind_in_directory(socket, directory.get(), place.name.c_str());
    if (errno != 0) return system_failure(path);
    BoundPath bound;
    struct stat info{};
    if (fchmodat(directory.get(), place.name.c_str(), mode, 0) != 0 ||
        fstatat(directory.get(), place.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return system_failure(path);
    }
    bound.path_ = path;
    bound.device_ = info.st_dev;
    bound.inode_ = info.st_ino;
    return bound;
}

// Another companion may have taken the place.
BoundPath::~BoundPath() {
    struct stat info{};
    if (path_.empty() || lstat(path_.c_str(), &info) != 0) return;
    if (info.st_dev == device_ && info.st_ino == inode_) unlink(path_.c_str());
}

}  // namespace tlsfs
