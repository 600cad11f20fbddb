// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "autostart.h"
#include "mount.h"

using tlsfs::Result;
using tlsfs::internal::find_mount;
using tlsfs::internal::mount_candidates;
using tlsfs::internal::open_mount;
using tlsfs::internal::start_companion;
namespace fs = std::filesystem;

namespace {

// A directory of its own for a test, and an environment that names it.
class Scratch {
 public:
    Scratch() {
        std::string name = "/tmp/lib_mount.XXXXXX";
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path_ = name;
        setenv("XDG_RUNTIME_DIR", name.c_str(), 1);
        for (const char* variable : {"TLSFS", "TLSFS_AUTOSTART", "TLSFS_PROGRAM"}) {
            unsetenv(variable);
        }
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { fs::remove_all(path_); }

    [[nodiscard]] std::string path(const std::string& name) const { return path_ + "/" + name; }

    [[nodiscard]] std::string text(const std::string& name) const {
        std::ifstream file(path(name));
        return {std::istreambuf_iterator<char>(file), {}};
    }

    // A stand-in for tlsfs: a shell script, run as `tlsfs --private --idle-exit 60 MOUNTPOINT`.
    void companion_is(const std::string& script) const {
        std::ofstream(path("tlsfs")) << "#!/bin/sh\ncd " << path_ << "\n" << script << "\n";
        REQUIRE(chmod(path("tlsfs").c_str(), 0700) == 0);
        setenv("TLSFS_PROGRAM", path("tlsfs").c_str(), 1);
    }

 private:
    std::string path_;
};

// The stand-in's mount is a plain directory with a clone in it.
bool is_mounted(const std::string& place) {
    return fs::exists(place + "/clone");
}

Result<> start(const Scratch& scratch) {
    return start_companion(scratch.path("tls"), is_mounted);
}

constexpr const char* kMounts = "echo \"$*\" >>log; sleep 0.1; : >\"$4/clone\"";

}  // namespace

TEST_CASE("TLSFS names the place; else the runtime directory's comes before the system's") {
    const Scratch scratch;
    CHECK(mount_candidates() == std::vector<std::string>{scratch.path("tls"), "/run/tls"});
    setenv("TLSFS", "/some//where/", 1);
    CHECK(mount_candidates() == std::vector<std::string>{"/some/where"});
    setenv("TLSFS", "here", 1);
    CHECK(mount_candidates() == std::vector<std::string>{fs::current_path() / "here"});
}

TEST_CASE("a runtime directory that is not there is passed over") {
    const Scratch scratch;
    setenv("XDG_RUNTIME_DIR", scratch.path("missing").c_str(), 1);
    CHECK(mount_candidates() == std::vector<std::string>{"/run/tls"});
}

TEST_CASE("a runtime directory of somebody else's is passed over" * doctest::skip(geteuid() != 0)) {
    const Scratch scratch;
    REQUIRE(chown(scratch.path("").c_str(), 12345, 12345) == 0);
    CHECK(mount_candidates() == std::vector<std::string>{"/run/tls"});
}

// A look-alike of the tree would be handed our plaintext.
TEST_CASE("a runtime directory that others can write to is passed over") {
    const Scratch scratch;
    for (const auto& [mode, good] :
         {std::pair{0700, true}, {0755, true}, {0720, false}, {0702, false}, {01777, false}}) {
        REQUIRE(chmod(scratch.path("").c_str(), static_cast<mode_t>(mode)) == 0);
        CHECK((mount_candidates().front() == scratch.path("tls")) == good);
    }
}

TEST_CASE("TLSFS_AUTOSTART=0 starts nothing") {
    const Scratch scratch;
    scratch.companion_is(kMounts);
    setenv("TLSFS", scratch.path("tls").c_str(), 1);
    setenv("TLSFS_AUTOSTART", "0", 1);
    CHECK(find_mount().error().code == ENOENT);
    CHECK_FALSE(fs::exists(scratch.path("log")));
}

TEST_CASE("a plain file named clone is no mount") {
    const Scratch scratch;
    std::ofstream(scratch.path("clone")) << "7\n";
    CHECK(open_mount(scratch.path("")).error().code == ENOENT);
    CHECK(open_mount(scratch.path("missing")).error().code == ENOENT);
}

TEST_CASE("where nothing is mounted, a companion is started") {
    const Scratch scratch;
    scratch.companion_is(kMounts);
    REQUIRE(start(scratch));
    CHECK(scratch.text("log") == "--private --idle-exit 60 " + scratch.path("tls") + "\n");
    CHECK((fs::status(scratch.path("tls")).permissions() & fs::perms::all) == fs::perms::owner_all);
}

TEST_CASE("of racing callers one starts the companion") {
    const Scratch scratch;
    scratch.companion_is(kMounts);
    std::vector<std::thread> callers;
    for (int i = 0; i < 16; ++i) callers.emplace_back([&] { CHECK(start(scratch)); });
    for (std::thread& caller : callers) caller.join();
    CHECK(scratch.text("log") == "--private --idle-exit 60 " + scratch.path("tls") + "\n");
}

TEST_CASE("the companion inherits three descriptors and no signal's treatment") {
    const Scratch scratch;
    std::array<int, 2> leaky{};
    REQUIRE(pipe(leaky.data()) == 0);  // not close-on-exec, as careless programs have them
    REQUIRE(leaky[0] <= 9);
    sigset_t blocked{};
    sigset_t before{};
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    // Nothing here forks: the shell would show its own work's signals and descriptors.
    scratch.companion_is(
        "for n in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && echo $n; done >fds\n"
        "while read -r line; do case $line in SigBlk:*) echo \"$line\"; esac;\n"
        "done </proc/$$/status >signals\n: >\"$4/clone\"");
    const auto started = start(scratch);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    close(leaky[0]);
    close(leaky[1]);
    REQUIRE(started);
    CHECK(scratch.text("signals") == "SigBlk:\t0000000000000000\n");
    CHECK(scratch.text("fds").empty());
}

// Others of the user will share it.
TEST_CASE("the companion does not inherit what would change its trust or its code") {
    const Scratch scratch;
    const std::vector<const char*> dangerous{"SSL_CERT_FILE",   "SSL_CERT_DIR",  "OPENSSL_CONF",
                                             "OPENSSL_MODULES", "SSLKEYLOGFILE", "ANYTHING"};
    for (const char* name : dangerous) setenv(name, "/nowhere", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    scratch.companion_is("env >environment; : >\"$4/clone\"");
    const auto started = start(scratch);
    for (const char* name : dangerous) unsetenv(name);
    unsetenv("LC_ALL");
    REQUIRE(started);
    const std::string environment = "\n" + scratch.text("environment");
    for (const char* name : dangerous) {
        CHECK_MESSAGE(environment.find(std::string("\n") + name + "=") == std::string::npos, name);
    }
    CHECK(environment.find("\nPATH=") != std::string::npos);
    CHECK(environment.find("\nLC_ALL=C.UTF-8\n") != std::string::npos);
    CHECK(environment.find(
              "\nXDG_RUNTIME_DIR=" + scratch.path("").substr(0, scratch.path("").size() - 1) +
              "\n") != std::string::npos);
}

TEST_CASE("a caller that ignores its children still learns the outcome") {
    const Scratch scratch;
    scratch.companion_is(kMounts);
    const auto before = std::signal(SIGCHLD, SIG_IGN);
    const auto started = start(scratch);
    std::signal(SIGCHLD, before);
    CHECK(started);
}

TEST_CASE("the companion's last words are the cause") {
    const Scratch scratch;
    scratch.companion_is("echo first >&2; printf 'tlsfs: no \\033[1mfuse\\n' >&2; exit 111");
    const auto started = start(scratch);
    REQUIRE_FALSE(started);
    CHECK(started.error().code == ENODEV);
    CHECK(started.error().text == "cannot start tlsfs: tlsfs: no ?[1mfuse");
}

TEST_CASE("a program that is not there is said to be") {
    const Scratch scratch;
    setenv("TLSFS_PROGRAM", scratch.path("missing").c_str(), 1);
    const auto started = start(scratch);
    REQUIRE_FALSE(started);
    CHECK(started.error().code == ENOENT);
    CHECK(started.error().text.starts_with("cannot start " + scratch.path("missing")));
}
