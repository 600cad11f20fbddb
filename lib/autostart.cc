// SPDX-License-Identifier: MIT
#include "autostart.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "core/unique_fd.h"
#include "retry.h"
#include "text.h"

namespace tlsfs::internal {
namespace {

constexpr const char* kInstalledProgram = TLSFS_BINDIR "/tlsfs";

std::string companion_program() {
    const char* chosen = secure_getenv("TLSFS_PROGRAM");
    if (chosen != nullptr && *chosen != '\0') return chosen;
    if (access(kInstalledProgram, X_OK) == 0) return kInstalledProgram;
    return "tlsfs";  // posix_spawnp looks for it in PATH
}

// Whoever holds the lock starts the companion; it is given back with the descriptor.
Result<UniqueFd> lock_beside(const std::string& mount_point) {
    const std::string path = mount_point + ".lock";
    UniqueFd lock(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!lock.valid()) return system_failure(path);
    if (uninterrupted([&] { return flock(lock.get(), LOCK_EX); }) != 0) return system_failure(path);
    return lock;
}

Result<> make_directory(const std::string& path) {
    if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return system_failure(path);
    return {};
}

// Owns the two parameter objects of posix_spawn.
class SpawnSettings {
 public:
    // stderr goes to `log`; stdin and stdout to nowhere; nothing else is inherited. Signals are as
    // a new program expects them, whatever the caller ignores or blocks.
    explicit SpawnSettings(int log) {
        posix_spawn_file_actions_init(&actions_);
        posix_spawn_file_actions_adddup2(&actions_, log, STDERR_FILENO);
        posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);

        sigset_t none{};
        sigset_t all{};
        sigemptyset(&none);
        sigfillset(&all);
        posix_spawnattr_init(&attributes_);
        posix_spawnattr_setsigmask(&attributes_, &none);
        posix_spawnattr_setsigdefault(&attributes_, &all);
        posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    SpawnSettings(const SpawnSettings&) = delete;
    SpawnSettings& operator=(const SpawnSettings&) = delete;
    ~SpawnSettings() {
        posix_spawnattr_destroy(&attributes_);
        posix_spawn_file_actions_destroy(&actions_);
    }

    [[nodiscard]] const posix_spawn_file_actions_t* actions() const { return &actions_; }
    [[nodiscard]] const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
    posix_spawn_file_actions_t actions_{};
    posix_spawnattr_t attributes_{};
};

// Other programs of the user will share the companion: what the first one has in its environment is
// not to choose what they trust, or what is loaded into it.
bool is_passed_on(std::string_view variable) {
    constexpr std::array kNames{"PATH=",
                                "HOME=",
                                "USER=",
                                "LOGNAME=",
                                "LANG=",
                                "TZ=",
                                "XDG_RUNTIME_DIR=",
                                "ASAN_OPTIONS=",
                                "UBSAN_OPTIONS=",
                                "TSAN_OPTIONS=",
                                "LSAN_OPTIONS="};
    return variable.starts_with("LC_") || std::ranges::any_of(kNames, [&](const char* name) {
               return variable.starts_with(name);
           });
}

std::vector<char*> companion_environment() {
    std::vector<char*> passed;
    for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
        if (is_passed_on(*variable)) passed.push_back(*variable);
    }
    passed.push_back(nullptr);
    return passed;
}

// Runs tlsfs until it has gone into the background, or failed. Its exit code is not looked at: the
// caller may ignore SIGCHLD or reap every child itself, and then there is none to be had.
Result<> run_companion(const std::string& mount_point, int log) {
    std::string program = companion_program();
    std::array<std::string, 5> words{"tlsfs", "--private", "--idle-exit", "60", mount_point};
    std::array<char*, 6> arguments{};
    for (std::size_t i = 0; i < words.size(); ++i) arguments.at(i) = words.at(i).data();

    const std::vector<char*> environment = companion_environment();
    const SpawnSettings settings(log);
    pid_t child = -1;
    errno = posix_spawnp(&child, program.c_str(), settings.actions(), settings.attributes(),
                         arguments.data(), environment.data());
    if (errno != 0) return system_failure("cannot start " + program);
    uninterrupted([&] { return waitpid(child, nullptr, 0); });
    return {};
}

// The last line that the companion said before it gave up.
std::string last_words(int log) {
    std::array<char, 4096> buffer{};
    const ssize_t size = pread(log, buffer.data(), buffer.size(), 0);
    if (size <= 0) return {};
    std::string text(buffer.data(), static_cast<std::size_t>(size));
    while (!text.empty() && text.back() == '\n') text.pop_back();
    const auto newline = text.rfind('\n');
    return printable(newline == std::string::npos ? text : text.substr(newline + 1));
}

}  // namespace

Result<> start_companion(const std::string& mount_point, IsMounted is_mounted) {
    const auto lock = lock_beside(mount_point);
    if (!lock) return tl::unexpected(lock.error());
    if (is_mounted(mount_point)) return {};  // somebody else started it before we had the lock

    if (auto made = make_directory(mount_point); !made) return made;
    // A file, not a pipe: no end of it that the companion keeps could make us wait.
    const UniqueFd log(memfd_create("tlsfs-stderr", MFD_CLOEXEC));
    if (!log.valid()) return system_failure("memfd_create");
    if (auto ran = run_companion(mount_point, log.get()); !ran) return ran;

    if (is_mounted(mount_point)) return {};
    const std::string cause = last_words(log.get());
    return failure(ENODEV, "cannot start tlsfs: " + (cause.empty() ? "no reason given" : cause));
}

}  // namespace tlsfs::internal
