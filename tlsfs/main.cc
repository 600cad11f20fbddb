// SPDX-License-Identifier: MIT
// tlsfs: the companion. Options and wiring; see tlsfs(8).
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "attach/server.h"
#include "configuration.h"
#include "daemon.h"
#include "engine/wiping_memory.h"
#include "exit_codes.h"
#include "fuse/server.h"
#include "service_signals.h"

namespace {

using tlsfs::kExitSystem;
using tlsfs::kExitUsage;

struct Options {
    tlsfs::ServerOptions server;
    std::string no_mount;  // the socket, where there is to be no mount
    tlsfs::Overrides said;
    bool foreground = false;
    bool only_owner = false;
};

// Where programs look for it: tls(4). For all users there is one place only: what a login has given
// root as its runtime directory nobody else can enter.
std::string default_mount_point(bool all_users) {
    if (const char* place = getenv("TLSFS"); place != nullptr && *place != '\0') return place;
    if (all_users) return "/run/tls";
    if (const char* runtime = getenv("XDG_RUNTIME_DIR"); runtime != nullptr && *runtime != '\0') {
        return std::string(runtime) + "/tls";
    }
    return "/run/tls";
}

// A path that still means the same after chdir(2).
void make_absolute(std::string& path) {
    if (!path.empty()) path = std::filesystem::absolute(path).lexically_normal();
}

int parse(int argc, char** argv, Options& options, tlsfs::Log& log) {
    tlsfs::Overrides& said = options.said;
    std::string log_level;
    CLI::App app{"Serves TLS as a file system.", "tlsfs"};
    app.add_flag("-f,--foreground", options.foreground, "stay in the foreground");
    auto* mount_options =
        app.add_option("-o", options.server.mount_options, "mount options, as mount(8) takes them");
    mount_options->delimiter(',')->allow_extra_args(false);
    app.add_option("--config", said.config_file, "read FILE instead of /etc/tlsfs.conf");
    app.add_option("--ca-file", said.ca_file, "trust these instead of the system's store");
    app.add_option("--keys", said.key_socket, "where tlskeyd is, not /run/tlskeyd/socket")
        ->type_name("SOCKET");
    app.add_option("--idle-exit", said.idle_exit, "end after SECONDS without a connection");
    app.add_option("--max-connections", said.max_connections, "limit of the mount")
        ->check(CLI::PositiveNumber);
    app.add_option("--max-per-user", said.max_per_user, "limit of one user")
        ->check(CLI::PositiveNumber);
    app.add_option("--log-level", log_level, "error, warning, info or debug")
        ->check(CLI::IsMember({"error", "warning", "info", "debug"}));
    app.add_flag("--private", options.only_owner,
                 "for the mounting user only, even when that is root");
    auto* mount_point = app.add_option("MOUNTPOINT", options.server.mount_point,
                                       "default: $TLSFS, $XDG_RUNTIME_DIR/tls, /run/tls");
    app.add_option("--no-mount", options.no_mount, "serve `attach` alone, at this path; no FUSE")
        ->type_name("SOCKET")
        ->excludes(mount_point)
        ->excludes(mount_options);
    app.set_version_flag("--version", TLSFS_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& asked) {
        app.exit(asked);
        return -1;
    } catch (const CLI::ParseError& wrong) {
        log.say(tlsfs::LogLevel::error, wrong.what());
        return kExitUsage;
    }
    said.log_level = tlsfs::parse_log_level(log_level);
    make_absolute(said.config_file);
    make_absolute(said.ca_file);
    make_absolute(said.key_socket);
    make_absolute(options.no_mount);
    options.server.all_users = geteuid() == 0 && !options.only_owner;
    if (options.server.mount_point.empty()) {
        options.server.mount_point = default_mount_point(options.server.all_users);
    }
    said.system = options.server.all_users;
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

// SIGHUP: what is wrong changes nothing.
void reload(const tlsfs::Overrides& said, tlsfs::Configuration& now, tlsfs::Service& server,
            tlsfs::Log& log) {
    timespec clock{};
    clock_gettime(CLOCK_MONOTONIC, &clock);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
               static_cast<long long>(clock.tv_sec) * 1000000 + clock.tv_nsec / 1000);
    if (auto next = tlsfs::load_configuration(said)) {
        now = std::move(*next);
        server.set_policy(now.policy);
        log.set_level(now.log_level);
        log.say(tlsfs::LogLevel::info, "the configuration and the trust store are read anew");
    } else {
        log.say(tlsfs::LogLevel::error, next.error().text + "; what was said before still holds");
    }
    sd_notify(0, "READY=1");
}

// Until SIGTERM or SIGINT, the mount's end, or idleness.
void wait_for_end(const sigset_t& signals, const tlsfs::Overrides& said, tlsfs::Configuration& now,
                  tlsfs::Service& server, tlsfs::Log& log) {
    for (;;) {
        const timespec second{1, 0};
        const bool for_ever = now.idle_exit.count() == 0;
        const int got = sigtimedwait(&signals, nullptr, for_ever ? nullptr : &second);
        if (got == SIGTERM || got == SIGINT) return;
        if (got == SIGHUP) reload(said, now, server, log);
        if (now.idle_exit.count() == 0) continue;
        const auto since = server.registry().idle_since();
        if (since && tlsfs::Registry::Clock::now() - *since >= now.idle_exit) return;
    }
}

int fail(const tlsfs::Error& error, tlsfs::Log& log) {
    const std::string cause = std::strerror(error.code);
    const bool said = error.text.ends_with(cause);
    log.say(tlsfs::LogLevel::error, error.text + (said ? "" : ": " + cause));
    return kExitSystem;
}

// In the background stderr is gone. Where there is no journal, nobody listens.
void log_to_journal(tlsfs::Log& log) {
    tlsfs::UniqueFd stream(sd_journal_stream_fd("tlsfs", LOG_INFO, 1));
    if (stream.valid()) log.use_journal(std::move(stream));
}

tlsfs::Result<std::unique_ptr<tlsfs::Service>> start_mount(const Options& options,
                                                           tlsfs::Log& log) {
    auto server = tlsfs::Server::mount(options.server, log);
    if (!server) return tl::unexpected(server.error());
    const auto unmounted = [] { kill(getpid(), SIGTERM); };
    if (auto started = (*server)->start(unmounted); !started)
        return tl::unexpected(started.error());
    return std::move(*server);
}

tlsfs::Result<std::unique_ptr<tlsfs::Service>> start_socket(const Options& options,
                                                            tlsfs::Log& log) {
    auto server = tlsfs::AttachServer::bind(options.no_mount, options.server.all_users,
                                            options.server.policy, log);
    if (!server) return tl::unexpected(server.error());
    if (auto started = (*server)->start(); !started) return tl::unexpected(started.error());
    return std::move(*server);
}

// A place in /run or the user's runtime directory may have to be made first.
void prepare_mount_point(std::string& mount_point) {
    mkdir(mount_point.c_str(), 0755);
    char* absolute = realpath(mount_point.c_str(), nullptr);
    if (absolute != nullptr) mount_point = absolute;
    free(absolute);
}

int serve(const Options& options, tlsfs::Configuration now, tlsfs::Daemon& daemon,
          tlsfs::Log& log) {
    const sigset_t signals = tlsfs::block_service_signals();
    auto server = options.no_mount.empty() ? start_mount(options, log) : start_socket(options, log);
    if (!server) return fail(server.error(), log);
    daemon.ready();
    if (!options.foreground) log_to_journal(log);
    sd_notify(0, "READY=1");
    wait_for_end(signals, options.said, now, **server, log);
    sd_notify(0, "STOPPING=1");
    (*server)->stop();
    return 0;
}

int run(int argc, char** argv, tlsfs::Log& log) {
    Options options;
    if (const int code = parse(argc, argv, options, log); code != 0) return code < 0 ? 0 : code;
    protect_memory();
    tlsfs::install_wiping_memory();
    auto configuration = tlsfs::load_configuration(options.said);
    if (!configuration) {
        log.say(tlsfs::LogLevel::error, configuration.error().text);
        return configuration.error().exit_code;
    }
    log.set_level(configuration->log_level);
    options.server.policy = configuration->policy;
    if (options.no_mount.empty()) prepare_mount_point(options.server.mount_point);
    raise_descriptor_limit();
    auto daemon = options.foreground ? tlsfs::Daemon() : tlsfs::Daemon::detach();
    if (const auto code = daemon.parent_exit_code()) return *code;
    return serve(options, std::move(*configuration), daemon, log);
}

}  // namespace

int main(int argc, char** argv) {
    tlsfs::Log log;
    try {
        return run(argc, argv, log);
    } catch (const std::exception& error) {
        log.say(tlsfs::LogLevel::error, error.what());
        return kExitSystem;
    }
}
