// SPDX-License-Identifier: MIT
// What is left to a process behind the list of system calls. Each trial is a child's.
#include "keys/sandbox.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "core/unique_fd.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    (defined(__x86_64__) || defined(__aarch64__))

using namespace tlsfs;

namespace {

// 0, or the errno of what `work` tried behind the list.
template <class Work>
int behind_the_list(Work work) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        if (!keys::restrict_system_calls()) _exit(255);
        errno = 0;
        _exit(work() ? 0 : errno);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    return WEXITSTATUS(status);
}

bool opens(int fd) {
    return UniqueFd(fd).valid();
}

}  // namespace

TEST_CASE("sandbox: files, threads and Unix sockets are left") {
    CHECK(behind_the_list([] { return opens(open("/dev/null", O_RDONLY | O_CLOEXEC)); }) == 0);
    CHECK(behind_the_list([] { return opens(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }) ==
          0);
    CHECK(behind_the_list([] {
              bool ran = false;
              std::thread([&] { ran = true; }).join();
              return ran;
          }) == 0);
}

TEST_CASE("sandbox: no network, no other process, no exec, no look into others") {
    for (const int family : {AF_INET, AF_INET6, AF_NETLINK, AF_PACKET}) {
        CHECK(behind_the_list([family] {
                  return opens(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
              }) == EPERM);
    }
    CHECK(behind_the_list([] {
              const pid_t child = fork();
              if (child == 0) _exit(0);
              return child > 0;
          }) == EPERM);
    CHECK(behind_the_list([] {
              char* const arguments[] = {nullptr};
              return execve("/bin/true", arguments, arguments) == 0;
          }) == EPERM);
    CHECK(behind_the_list([] { return ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0; }) ==
          EPERM);
    CHECK(behind_the_list([] { return kill(getppid(), 0) == 0; }) == EPERM);
    CHECK(behind_the_list([] { return setuid(0) == 0; }) == EPERM);
    CHECK(behind_the_list([] { return chmod("/nonexistent", 0) == 0; }) == EPERM);
}

#endif
