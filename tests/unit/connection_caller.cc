// SPDX-License-Identifier: MIT
#include "connection/caller.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <functional>

#include "support/descriptors.h"

using namespace tlsfs;
using namespace tlsfs::test;

namespace {

Caller ourselves() {
    return {geteuid(), getegid()};
}

// A child that has made ready, and waits to be asked.
class Child {
 public:
    explicit Child(const std::function<void()>& prepare) {
        auto [listen, speak] = pipe_pair();
        pid_ = fork();
        if (pid_ == 0) {
            prepare();
            [[maybe_unused]] const ssize_t told = ::write(speak.get(), "x", 1);
            for (;;) pause();
        }
        char word = 0;
        REQUIRE(::read(listen.get(), &word, 1) == 1);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    [[nodiscard]] pid_t pid() const { return pid_; }

 private:
    pid_t pid_ = -1;
};

void check_not_permitted(const Result<UniqueFd>& taken) {
    REQUIRE_FALSE(taken);
    CHECK(taken.error().code == EPERM);
    CHECK(taken.error().text.find("attach") != std::string::npos);
}

}  // namespace

TEST_CASE("caller: a descriptor is taken, close-on-exec") {
    auto [ours, theirs] = socket_pair();
    const Child child([] {});
    const auto taken = take_caller_fd(child.pid(), ourselves(), ours.get());
    REQUIRE(taken);
    CHECK((fcntl(taken->get(), F_GETFD) & FD_CLOEXEC) != 0);
    REQUIRE(::write(theirs.get(), "x", 1) == 1);
    char byte = 0;
    CHECK(::read(taken->get(), &byte, 1) == 1);
}

TEST_CASE("caller: no such descriptor") {
    const Child child([] {});
    const auto taken = take_caller_fd(child.pid(), ourselves(), 1000000);
    REQUIRE_FALSE(taken);
    CHECK(taken.error().code == EBADF);
}

TEST_CASE("caller: another pid namespace, and nobody at all") {
    check_not_permitted(take_caller_fd(0, ourselves(), 0));
    check_not_permitted(take_caller_fd(0x7ffffff0, ourselves(), 0));
}

TEST_CASE("caller: ids that are not the owner's") {
    const Child child([] {});
    check_not_permitted(take_caller_fd(child.pid(), {geteuid() + 1, getegid()}, 0));
    check_not_permitted(take_caller_fd(child.pid(), {geteuid(), getegid() + 1}, 0));
}

TEST_CASE("caller: a writer with a saved id of its own") {
    if (geteuid() != 0) return;
    const Child setuid([] { (void)setresuid(1000, 1000, 0); });
    check_not_permitted(take_caller_fd(setuid.pid(), {1000, 0}, 0));
    const Child setgid([] {
        (void)setresgid(1000, 1000, 0);
        (void)setresuid(1000, 1000, 1000);
        prctl(PR_SET_DUMPABLE, 1);
    });
    check_not_permitted(take_caller_fd(setgid.pid(), {1000, 1000}, 0));
}

TEST_CASE("caller: not dumpable") {
    if (geteuid() != 0) return;
    const Child dropped([] {
        (void)setresgid(1000, 1000, 1000);
        (void)setresuid(1000, 1000, 1000);
        prctl(PR_SET_DUMPABLE, 0);
    });
    check_not_permitted(take_caller_fd(dropped.pid(), {1000, 1000}, 0));
    const Child plain([] {
        (void)setresgid(1000, 1000, 1000);
        (void)setresuid(1000, 1000, 1000);
        prctl(PR_SET_DUMPABLE, 1);
    });
    CHECK(take_caller_fd(plain.pid(), {1000, 1000}, 0));
}

TEST_CASE("caller: as whom to dial") {
    const Child child([] {});
    const auto identity = caller_identity(child.pid(), ourselves(), true);
    REQUIRE(identity);
    CHECK(identity->has_value() == (geteuid() == 0));
    CHECK_FALSE(caller_identity(0, ourselves(), false));
}

// A private companion of an ordinary user cannot take on another's ids: it must not lend its own.
TEST_CASE("caller: no dial with the companion's own ids for somebody else") {
    if (geteuid() != 0) return;
    const pid_t child = fork();
    if (child == 0) {
        if (setresgid(1000, 1000, 1000) != 0 || setresuid(1000, 1000, 1000) != 0) _exit(2);
        prctl(PR_SET_DUMPABLE, 1);
        const bool own = caller_identity(getpid(), {1000, 1000}, false).has_value();
        const bool others = caller_identity(getpid(), {1001, 1001}, false).has_value();
        _exit(own && !others ? 0 : 1);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("caller: a connection obeys its owner, and root only to be hung up") {
    constexpr Caller kOwner{1000, 1000}, kOther{1001, 1001}, kRoot{0, 0};
    for (const std::string_view lines : {"fd 0", "hangup", "dial /run/x", ""}) {
        CHECK(may_command(kOwner, kOwner, lines));
        CHECK(may_command(kRoot, kRoot, lines));
        CHECK_FALSE(may_command(kOther, kOwner, lines));
    }
    CHECK(may_command(kRoot, kOwner, "hangup"));
    CHECK(may_command(kRoot, kOwner, "hangup\n"));
    for (const std::string_view lines :
         {"", "fd 0", "hangup\nfd 0", "fd 0\nhangup", "close", " hangup"}) {
        CHECK_FALSE(may_command(kRoot, kOwner, lines));
    }
}
