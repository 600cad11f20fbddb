// SPDX-License-Identifier: MIT
#include "connection/caller.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace tlsfs {
namespace {

#ifndef PIDFD_THREAD
constexpr unsigned PIDFD_THREAD = O_EXCL;  // since Linux 6.9
#endif

tl::unexpected<Error> not_permitted(std::string_view why) {
    return failure(EPERM, fmt::format("{}: hand it over through attach", why));
}

// The fields of /proc/TID/status that matter here.
struct ThreadStatus {
    pid_t process = 0;
    std::vector<uid_t> uids;  // real, effective, saved, file system
    std::vector<gid_t> gids;
    std::vector<gid_t> groups;
};

template <class Id>
std::vector<Id> parse_ids(std::string_view text) {
    std::istringstream stream{std::string(text)};
    std::vector<Id> ids;
    for (Id id = 0; stream >> id;) ids.push_back(id);
    return ids;
}

std::string read_small_file(const std::string& path) {
    std::string text;
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, 4096> buffer;
    if (!fd.valid()) return text;
    for (ssize_t got = 0; (got = read(fd.get(), buffer.data(), buffer.size())) > 0;) {
        text.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return text;
}

Result<ThreadStatus> thread_status(pid_t thread) {
    const std::string text = read_small_file(fmt::format("/proc/{}/status", thread));
    if (text.empty()) return not_permitted("the caller cannot be looked at");
    ThreadStatus status;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        const auto colon = line.find(':');
        if (colon == std::string::npos) continue;
        const auto tag = std::string_view(line).substr(0, colon);
        const auto value = std::string_view(line).substr(colon + 1);
        if (tag == "Tgid")
            status.process = static_cast<pid_t>(std::strtol(value.data(), nullptr, 10));
        if (tag == "Uid") status.uids = parse_ids<uid_t>(value);
        if (tag == "Gid") status.gids = parse_ids<gid_t>(value);
        if (tag == "Groups") status.groups = parse_ids<gid_t>(value);
    }
    return status;
}

// The kernel's own rule for taking a descriptor (ptrace(2), PTRACE_MODE_ATTACH), as if the owner
// asked. A privileged companion has to apply it by itself.
Result<> check_plain(pid_t thread, const ThreadStatus& status, Caller owner) {
    const auto is = [](auto id) { return [id](auto other) { return other == id; }; };
    if (status.uids.size() != 4 || !std::ranges::all_of(status.uids, is(owner.uid)) ||
        status.gids.size() != 4 || !std::ranges::all_of(status.gids, is(owner.gid))) {
        return not_permitted("the writer's ids are not those of who opened");
    }
    // The files of a process that is not dumpable belong to root (proc(5)); its directory does not.
    struct stat info{};
    if (stat(fmt::format("/proc/{}/status", thread).c_str(), &info) != 0 ||
        info.st_uid != owner.uid) {
        return not_permitted("the writer is not dumpable");
    }
    return {};
}

UniqueFd open_pidfd(pid_t thread, pid_t process) {
    // The very thread where the kernel can do that: it may not share its process's descriptors.
    const auto exact = syscall(SYS_pidfd_open, thread, PIDFD_THREAD);
    if (exact >= 0) return UniqueFd(static_cast<int>(exact));
    return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, process, 0)));
}

bool same_namespace(pid_t thread, const char* kind) {
    struct stat ours{}, theirs{};
    return stat(fmt::format("/proc/self/ns/{}", kind).c_str(), &ours) == 0 &&
           stat(fmt::format("/proc/{}/ns/{}", thread, kind).c_str(), &theirs) == 0 &&
           ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

bool same_root(pid_t thread) {
    struct stat ours{}, theirs{};
    return stat("/", &ours) == 0 &&
           stat(fmt::format("/proc/{}/root", thread).c_str(), &theirs) == 0 &&
           ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

}  // namespace

bool may_command(Caller writer, Caller owner, std::string_view lines) {
    if (writer.uid == owner.uid) return true;
    return writer.uid == 0 && (lines == "hangup" || lines == "hangup\n");
}

bool shares_files(pid_t thread) {
    return thread != 0 && same_namespace(thread, "mnt") && same_root(thread);
}

Result<UniqueFd> take_caller_fd(pid_t thread, Caller owner, int number) {
    if (thread == 0) return not_permitted("the caller is in another pid namespace");
    const auto status = thread_status(thread);
    if (!status) return tl::unexpected(status.error());
    if (auto plain = check_plain(thread, *status, owner); !plain)
        return tl::unexpected(plain.error());
    const UniqueFd pidfd = open_pidfd(thread, status->process);
    if (!pidfd.valid()) return not_permitted("the caller cannot be opened");
    const auto fd = syscall(SYS_pidfd_getfd, pidfd.get(), number, 0);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    if (errno == EBADF)
        return failure(EBADF, fmt::format("the caller has no descriptor {}", number));
    if (errno == EPERM) return not_permitted("the caller's descriptors may not be taken");
    return system_failure("pidfd_getfd");
}

Result<std::optional<Identity>> caller_identity(pid_t thread, Caller caller, bool path) {
    if (thread == 0 || !same_namespace(thread, "net")) {
        return not_permitted("dial: the caller is in another network namespace");
    }
    if (path && !shares_files(thread)) {
        return not_permitted("dial: the caller sees other files");
    }
    if (geteuid() != 0 && caller.uid == geteuid()) return std::nullopt;
    if (geteuid() != 0) return not_permitted("dial: the caller is not who mounted");
    const auto status = thread_status(thread);
    if (!status) return tl::unexpected(status.error());
    return Identity{caller.uid, caller.gid, status->groups};
}

}  // namespace tlsfs
