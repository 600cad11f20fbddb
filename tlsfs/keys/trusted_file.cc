// SPDX-License-Identifier: MIT
#include "keys/trusted_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "core/unique_fd.h"

namespace tlsfs::keys {
namespace {

constexpr std::size_t kMaxFile = 1U << 20U;

Result<> judge(const struct stat& info, const std::string& path, Secrecy secrecy) {
    if (!S_ISREG(info.st_mode)) return failure(EINVAL, path + ": not a regular file");
    if (info.st_uid != 0 && info.st_uid != geteuid()) {
        return failure(EACCES, path + ": its owner is neither root nor tlskeyd's own user");
    }
    if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return failure(EACCES, path + ": others than its owner can write to it");
    }
    if (secrecy == Secrecy::secret && (info.st_mode & S_IRWXO) != 0) {
        return failure(EACCES, path + ": everybody can read it");
    }
    if (info.st_size < 0 || static_cast<std::size_t>(info.st_size) > kMaxFile) {
        return failure(EFBIG, fmt::format("{}: more than {} bytes", path, kMaxFile));
    }
    return {};
}

}  // namespace

Result<SecretBytes> read_trusted_file(const std::string& path, Secrecy secrecy) {
    // NONBLOCK: a pipe that nobody writes to must not keep us.
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    if (!fd.valid()) return system_failure(path);
    struct stat info{};
    if (fstat(fd.get(), &info) != 0) return system_failure(path);
    if (auto good = judge(info, path, secrecy); !good) return tl::unexpected(good.error());
    // One more: a file that grew meanwhile is not taken for whole.
    SecretBytes bytes(static_cast<std::size_t>(info.st_size) + 1);
    std::size_t size = 0;
    while (size < bytes.size()) {
        const ssize_t got = read(fd.get(), bytes.data() + size, bytes.size() - size);
        if (got < 0) return system_failure(path);
        if (got == 0) break;
        size += static_cast<std::size_t>(got);
    }
    if (size == bytes.size()) return failure(EINVAL, path + ": it is being written to");
    bytes.resize(size);
    return bytes;
}

std::string stamp_of(const std::string& path) {
    struct stat info{};
    if (stat(path.c_str(), &info) != 0) return fmt::format("{} {};", path, errno);
    return fmt::format("{} {}:{} {} {:o} {} {}.{} {}.{};", path, info.st_dev, info.st_ino,
                       info.st_size, info.st_mode, info.st_uid, info.st_mtim.tv_sec,
                       info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
}

}  // namespace tlsfs::keys
