// SPDX-License-Identifier: MIT
// Data sockets where something is missing: the helper, rights, namespaces, /proc/sys.
#include <doctest/doctest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <fstream>

#include "io/socket_pairs.h"
#include "support/addresses.h"
#include "support/pairs.h"

using namespace tlsfs;
using namespace tlsfs::test;

namespace {

// The exit code of a child that runs `check`.
template <class Check>
int in_child(Check check) {
    const pid_t child = fork();
    if (child == 0) _exit(check());
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("socket pairs: when the helper has died there are no more") {
    const auto pairs = start_pairs();
    if (!pairs) return;
    auto before = pairs->make();
    REQUIRE(before);
    std::ifstream children("/proc/thread-self/children");
    for (pid_t child = 0; children >> child;) kill(child, SIGKILL);
    for (int i = 0; i < 2; ++i) {
        const auto after = pairs->make();
        REQUIRE_FALSE(after);
        CHECK(after.error().code == EOPNOTSUPP);
    }
    CHECK(write(before->programs.get(), "x", 1) == 1);
}

namespace {

// In a child: no more namespaces of these kinds. False where that cannot be had.
bool forbid_namespaces(std::initializer_list<const char*> kinds) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    for (const char* kind : kinds) {
        std::ofstream file(std::string("/proc/sys/user/max_") + kind + "_namespaces");
        file << 0 << std::flush;
        if (!file) return false;
    }
    return true;
}

bool makes_a_pair() {
    const auto pairs = SocketPairs::start();
    if (!pairs) return false;
    const auto pair = (*pairs)->make(address("192.0.2.7", 50123), address("198.51.100.9", 443));
    if (!pair || name_of(pair->programs, getpeername) != "198.51.100.9 443") return false;
    std::array<char, 16> got{};
    return write(pair->programs.get(), "to us", 5) == 5 &&
           read(pair->ours.get(), got.data(), got.size()) == 5;
}

constexpr int kCannotTry = 100;

void check_tried(int code) {
    if (code == kCannotTry) MESSAGE("not tried: no user namespaces, or no right to mount");
    CHECK((code == 0 || code == kCannotTry));
}

}  // namespace

TEST_CASE("socket pairs: without namespaces the reason is told") {
    const int code = in_child([] {
        if (!forbid_namespaces({"user", "net"})) return kCannotTry;
        const auto pairs = SocketPairs::start();
        if (pairs) return 1;
        if (pairs.error().code != EOPNOTSUPP) return 2;
        return pairs.error().text.starts_with("network namespace: ") ? 0 : 3;
    });
    check_tried(code);
}

TEST_CASE("socket pairs: without user namespaces, for who may make the others") {
    const int code = in_child([] {
        if (!forbid_namespaces({"user"})) return kCannotTry;
        return makes_a_pair() ? 0 : 1;
    });
    check_tried(code);
}

TEST_CASE("socket pairs: with /proc/sys read-only, as in containers") {
    const int code = in_child([] {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 ||
            mount("/proc/sys", "/proc/sys", nullptr, MS_BIND, nullptr) != 0 ||
            mount(nullptr, "/proc/sys", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) != 0) {
            return kCannotTry;
        }
        return makes_a_pair() ? 0 : 1;
    });
    check_tried(code);
}

TEST_CASE("socket pairs: an ordinary user has them too, or is told why not") {
    if (geteuid() != 0) return;
    const int code = in_child([] {
        if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0) return 1;
        const auto pairs = SocketPairs::start();
        if (!pairs) return pairs.error().code == EOPNOTSUPP && !pairs.error().text.empty() ? 0 : 2;
        return makes_a_pair() ? 0 : 3;
    });
    CHECK(code == 0);
}
