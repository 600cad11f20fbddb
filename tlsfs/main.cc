// SPDX-License-Identifier: MIT
// tlsfs: the companion. Options and wiring; see tlsfs(8).
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>
#include <optional>

#include "daemon.h"
#include "engine/wiping_memory.h"
#include "fuse/server.h"

namespace {

using std::chrono::seconds;

constexpr int kUsage = 100;
constexpr int kSystem = 111;

struct Options {
    tlsfs::ServerOptions server;
    bool foreground = false;
    bool only_owner = false;
    unsigned idle_exit = 0;  // seconds; 0: never
};

// As the programs look for it: tls(4).
std::string default_mount_point() {
    if (const char* place = getenv("TLSFS"); place != nullptr && *place != '\0') return place;
    if (const char* runtime = getenv("XDG_RUNTIME_DIR"); runtime != nullptr && *runtime != '\0') {
        return std::string(runtime) + "/tls";
    }
    return "/run/tls";
}

int parse(int argc, char** argv, Options& options) {
    CLI::App app{"Serves TLS as a file system.", "tlsfs"};
    app.add_flag("-f,--foreground", options.foreground, "stay in the foreground");
    app.add_option("-o", options.server.mount_options, "mount options, as mount(8) takes them")
        ->delimiter(',')
        ->allow_extra_args(false);
    app.add_option("--ca-file", options.server.ca_file,
                   "trust these instead of the system's store");
    app.add_option("--idle-exit", options.idle_exit, "end after SECONDS without a connection");
    app.add_option("--max-connections", options.server.limits.connections, "limit of the mount")
        ->check(CLI::PositiveNumber);
    app.add_option("--max-per-user", options.server.limits.per_user, "limit of one user")
        ->check(CLI::PositiveNumber);
    app.add_flag("--private", options.only_owner,
                 "for the mounting user only, even when that is root");
    app.add_option("MOUNTPOINT", options.server.mount_point,
                   "default: $TLSFS, $XDG_RUNTIME_DIR/tls, /run/tls");
    app.set_version_flag("--version", TLSFS_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& asked) {
        app.exit(asked);
        return -1;
    } catch (const CLI::ParseError& wrong) {
        std::cerr << "tlsfs: " << wrong.what() << '\n';
        return kUsage;
    }
    if (options.server.mount_point.empty()) options.server.mount_point = default_mount_point();
    options.server.all_users = geteuid() == 0 && !options.only_owner;
    return 0;
}

// Private keys pass through here: no core files, no debugger of the same user.
void protect_memory() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    prctl(PR_SET_DUMPABLE, 0);
#endif
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
}

// A descriptor a connection: as many as we may.
void raise_descriptor_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

sigset_t block_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    signal(SIGPIPE, SIG_IGN);
    return set;
}

// Until SIGTERM or SIGINT, the mount's end, or idleness. SIGHUP is no end: changed trust stores are
// noticed without it.
void wait_for_end(const sigset_t& signals, tlsfs::Server& server, seconds idle_exit) {
    for (;;) {
        const timespec second{1, 0};
        const int got = sigtimedwait(&signals, nullptr, idle_exit.count() > 0 ? &second : nullptr);
        if (got == SIGTERM || got == SIGINT) return;
        if (idle_exit.count() == 0) continue;
        const auto since = server.registry().idle_since();
        if (since && tlsfs::Registry::Clock::now() - *since >= idle_exit) return;
    }
}

int fail(const tlsfs::Error& error) {
    const std::string cause = std::strerror(error.code);
    const bool said = error.text.ends_with(cause);
    std::cerr << "tlsfs: " << error.text << (said ? "" : ": " + cause) << '\n';
    return kSystem;
}

int serve(const Options& options, tlsfs::Daemon& daemon) {
    const sigset_t signals = block_signals();
    auto server = tlsfs::Server::mount(options.server);
    if (!server) return fail(server.error());
    const auto unmounted = [] { kill(getpid(), SIGTERM); };
    if (auto started = (*server)->start(unmounted); !started) return fail(started.error());
    daemon.ready();
    sd_notify(0, "READY=1");
    wait_for_end(signals, **server, seconds{options.idle_exit});
    sd_notify(0, "STOPPING=1");
    (*server)->stop();
    return 0;
}

int run(int argc, char** argv) {
    Options options;
    if (const int code = parse(argc, argv, options); code != 0) return code < 0 ? 0 : code;
    // A place in /run or the user's runtime directory may have to be made first.
    mkdir(options.server.mount_point.c_str(), 0755);
    char* absolute = realpath(options.server.mount_point.c_str(), nullptr);
    if (absolute != nullptr) options.server.mount_point = absolute;
    free(absolute);
    protect_memory();
    tlsfs::install_wiping_memory();
    raise_descriptor_limit();
    auto daemon = options.foreground ? tlsfs::Daemon() : tlsfs::Daemon::detach();
    if (const auto code = daemon.parent_exit_code()) return *code;
    return serve(options, daemon);
}

}  // namespace

int main(int argc, char** argv) try {
    return run(argc, argv);
} catch (const std::exception& error) {
    std::cerr << "tlsfs: " << error.what() << '\n';
    return kSystem;
}
