// SPDX-License-Identifier: MIT
// tlskeyd: keeps private keys and signs TLS handshakes with them. Options and wiring; tlskeyd(8).
#include <fcntl.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "core/log.h"
#include "engine/wiping_memory.h"
#include "exit_codes.h"
#include "io/bind.h"
#include "keys/front.h"
#include "keys/identity_directory.h"
#include "keys/sandbox.h"
#include "keys/service.h"
#include "keys/watcher.h"
#include "service_signals.h"

namespace tlsfs::keys {
namespace {

using std::chrono::milliseconds;

// Certificate and key are renewed by two renames: what has not fitted for so long is not half
// renewed.
constexpr milliseconds kSettling{1000};
// What inotify does not see: a directory above that was exchanged.
constexpr milliseconds kLookAnyway{30'000};

struct Options {
    std::string socket = kUsualKeySocket;
    std::string directory = "/etc/tlsfs/identities.d";
    KeyService::Rules rules;
    bool own = false;  // a user's own
};

void make_absolute(std::string& path) {
    path = std::filesystem::absolute(path).lexically_normal();
}

int parse(int argc, char** argv, Options& options, Log& log) {
    CLI::App app{"Keeps private keys and signs TLS handshakes with them.", "tlskeyd"};
    std::string own_socket;
    auto* socket =
        app.add_option("--socket", options.socket, "listen at PATH, not at /run/tlskeyd/socket")
            ->type_name("PATH");
    app.add_option("--private", own_socket, "listen at SOCKET, for this user only")
        ->type_name("SOCKET")
        ->excludes(socket);
    app.add_option("-f,--from", options.directory,
                   "the identities, in place of /etc/tlsfs/identities.d")
        ->type_name("DIRECTORY");
    app.add_option("--rate", options.rules.signatures, "signatures a second for each user (5000)")
        ->check(CLI::Range(1.0, 1e6).description(""))
        ->type_name("NUMBER");
    app.set_version_flag("--version", TLSFS_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& asked) {
        app.exit(asked);
        return -1;
    } catch (const CLI::ParseError& wrong) {
        log.say(LogLevel::error, wrong.what());
        return kExitUsage;
    }
    options.own = !own_socket.empty();
    if (options.own) options.socket = own_socket;
    if (options.own) options.rules.only = geteuid();
    make_absolute(options.socket);
    make_absolute(options.directory);
    return 0;
}

struct Listening {
    UniqueFd fd;
    std::optional<BoundPath> path;  // that we made
};

// What the service manager has passed, or our own.
Result<Listening> listen_at(const Options& options) {
    const int passed = sd_listen_fds(1);
    if (passed > 1) return failure(EINVAL, "more than one socket was passed");
    if (passed == 1) {
        if (sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_SEQPACKET, 1, nullptr, 0) <= 0) {
            return failure(EINVAL, "what was passed is no listening Unix socket of SOCK_SEQPACKET");
        }
        // It may be another thread that accepts who came.
        if (fcntl(SD_LISTEN_FDS_START, F_SETFL, O_NONBLOCK) != 0) return system_failure("socket");
        return Listening{UniqueFd(SD_LISTEN_FDS_START), {}};
    }
    Listening made{UniqueFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)), {}};
    if (!made.fd.valid()) return system_failure("socket");
    auto bound = BoundPath::bind(made.fd.get(), options.socket, options.own ? 0600 : 0666);
    if (!bound) return tl::unexpected(bound.error());
    made.path.emplace(std::move(*bound));
    if (listen(made.fd.get(), SOMAXCONN) != 0) return system_failure(options.socket);
    return made;
}

// Loads what has changed, and looks again where something is broken.
class Reloading {
 public:
    Reloading(Reactor& reactor, IdentityDirectory& identities)
        : reactor_(reactor),
          identities_(identities),
          watcher_(std::make_shared<Watcher>(reactor, [this] { changed(); })) {}

    void begin() {
        watcher_->begin();
        load(milliseconds{0});
        look_now_and_then();
    }
    void changed() {
        if (!load(kSettling) || looks_again_.exchange(true)) return;
        reactor_.after(kSettling, [this] {
            looks_again_ = false;
            changed();
        });
    }

 private:
    bool load(milliseconds patience) {
        bool untold = false;
        do {
            untold = identities_.reload(patience);
        } while (watcher_->watch(identities_.directories()));  // what changed before it was watched
        return untold;
    }
    void look_now_and_then() {
        reactor_.after(kLookAnyway, [this] {
            changed();
            look_now_and_then();
        });
    }

    Reactor& reactor_;
    IdentityDirectory& identities_;
    std::shared_ptr<Watcher> watcher_;
    std::atomic<bool> looks_again_ = false;  // one timer is enough
};

// A private one may do without; the system's may not.
Result<> harden(const Options& options, Log& log) {
    auto memory = protect_memory();
    if (!memory && !options.own) return memory;
    if (!memory) log.say(LogLevel::warning, "keys may be swapped out: " + memory.error().text);
    auto calls = restrict_system_calls();
    if (calls || calls.error().code != EOPNOTSUPP) return calls;
    log.say(LogLevel::warning, calls.error().text);
    return {};
}

void wait_for_end(const sigset_t& signals, Reloading& reloading) {
    for (;;) {
        const int got = sigtimedwait(&signals, nullptr, nullptr);
        if (got == SIGTERM || got == SIGINT) return;
        if (got == SIGHUP) reloading.changed();
    }
}

int serve(const Options& options, Log& log) {
    const sigset_t signals = block_service_signals();
    auto listening = listen_at(options);
    if (!listening) {
        log.say(LogLevel::error, listening.error().text);
        return kExitSystem;
    }
    if (auto hard = harden(options, log); !hard) {
        log.say(LogLevel::error, hard.error().text);
        return kExitSystem;
    }
    Reactor reactor;
    IdentityDirectory identities(options.directory, options.rules.only, log);
    KeyService service(identities, options.rules, log);
    const auto front = std::make_shared<KeyFront>(reactor, service, log);
    Reloading reloading(reactor, identities);
    reloading.begin();
    front->listen(std::move(listening->fd));
    std::vector<std::thread> threads(std::clamp(std::thread::hardware_concurrency(), 2U, 16U));
    for (std::thread& thread : threads) thread = std::thread([&reactor] { reactor.run(); });
    sd_notify(0, "READY=1");
    wait_for_end(signals, reloading);
    sd_notify(0, "STOPPING=1");
    listening->path.reset();
    reactor.stop();
    for (std::thread& thread : threads) thread.join();
    // A thread that waits for a token cannot be waited for, and uses what is here.
    std::_Exit(0);
}

int run(int argc, char** argv, Log& log) {
    Options options;
    log.set_level(LogLevel::info);
    if (const int code = parse(argc, argv, options, log); code != 0) return code < 0 ? 0 : code;
    install_wiping_memory();
    // Nothing of openssl.cnf: it could name other providers.
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
    return serve(options, log);
}

}  // namespace
}  // namespace tlsfs::keys

int main(int argc, char** argv) {
    tlsfs::Log log(STDERR_FILENO, "tlskeyd");
    try {
        return tlsfs::keys::run(argc, argv, log);
    } catch (const std::exception& error) {
        log.say(tlsfs::LogLevel::error, error.what());
        return tlsfs::kExitSystem;
    }
}
