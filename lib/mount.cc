// SPDX-License-Identifier: MIT
#include "mount.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>

#include "autostart.h"

namespace tlsfs::internal {
namespace {

constexpr const char* kSystemMount = "/run/tls";

// An environment variable, as far as a set-user-id program may believe it. Empty is unset.
std::optional<std::string> environment(const char* name) {
    const char* value = secure_getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
}

// A name under which the companion, whose working directory is another, finds the same place.
std::string absolute(const std::string& path) {
    std::error_code ignored;
    std::string result = std::filesystem::absolute(path, ignored).lexically_normal().string();
    while (result.size() > 1 && result.back() == '/') result.pop_back();
    return result;
}

// After su(1) the variable may still name the other user's directory, and a look-alike of the
// tree there would be handed our plaintext. So it would where others can write.
bool is_own_directory(const std::string& path) {
    struct stat info{};
    return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid() &&
           (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

bool may_start_at(const std::string& path) {
    return path != kSystemMount || geteuid() == 0;
}

bool autostart_wanted() {
    // A set-user-id program would start it with ids and an environment that do not belong together.
    if (getauxval(AT_SECURE) != 0) return false;
    const auto setting = environment("TLSFS_AUTOSTART");
    return !setting || *setting != "0";
}

bool is_mounted(const std::string& path) {
    return open_mount(path).has_value();
}

std::string joined(const std::vector<std::string>& words) {
    std::string result;
    for (const std::string& word : words) result += (result.empty() ? "" : ", ") + word;
    return result;
}

}  // namespace

std::vector<std::string> mount_candidates() {
    if (const auto chosen = environment("TLSFS")) return {absolute(*chosen)};
    const auto runtime = environment("XDG_RUNTIME_DIR");
    if (!runtime || !is_own_directory(*runtime)) return {kSystemMount};
    return {absolute(*runtime + "/tls"), kSystemMount};
}

std::string Mount::attach_path() const {
    const std::string self = "/proc/self/fd/" + std::to_string(place.get());
    return is_socket ? self : self + "/attach";
}

Result<Mount> open_mount(const std::string& path) {
    UniqueFd place(open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!place.valid()) return system_failure(path);
    struct stat self{};
    if (fstat(place.get(), &self) != 0) return system_failure(path);
    if (S_ISSOCK(self.st_mode)) return Mount{path, std::move(place), true};
    struct statfs filesystem{};
    if (fstatfs(place.get(), &filesystem) != 0) return system_failure(path);
    // A shell's <>$TLSFS/clone makes a plain file where nothing is mounted.
    if (filesystem.f_type != FUSE_SUPER_MAGIC) {
        return failure(ENOENT, path + ": nothing is mounted");
    }
    struct stat clone{};
    if (fstatat(place.get(), "clone", &clone, 0) != 0) return system_failure(path + "/clone");
    return Mount{path, std::move(place)};
}

Result<Mount> find_mount() {
    const auto candidates = mount_candidates();
    for (const std::string& candidate : candidates) {
        if (auto mount = open_mount(candidate)) return mount;
    }
    const std::string& place = candidates.front();
    if (!autostart_wanted() || !may_start_at(place)) {
        return failure(ENOENT, "no tlsfs is mounted at " + joined(candidates));
    }
    const auto started = start_companion(place, is_mounted);
    if (!started) return tl::unexpected(started.error());
    return open_mount(place);
}

}  // namespace tlsfs::internal
