// SPDX-License-Identifier: MIT
// tlstunnel(8): relays between plain and TLS, for programs that cannot be changed.
#include <sys/resource.h>

#include <csignal>

#include "credentials.h"
#include "program.h"
#include "report.h"
#include "tunnel.h"
#include "tunnel_options.h"

namespace tlsfs::cmd {
namespace {

// A connection takes one, three while it is set up, and the usual soft limit is for programs that
// use select(2).
void allow_many_descriptors() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main_with(int argc, const char* const* argv) {
    int exit_code = 0;
    const auto options = parse_tunnel_options(argc, argv, exit_code);
    if (!options) return exit_code;
    std::signal(SIGPIPE, SIG_IGN);
    allow_many_descriptors();
    // What no connection could be made with is better said now than to every peer.
    Failure why;
    auto credentials = Credentials::load(options->role, why);
    if (!credentials) return complain_of(why, "cannot serve");
    Signals signals = Tunnel::block_signals();
    Entrance entrance = open_entrance(*options);
    if (entrance.sockets.empty()) return kExitSystem;
    return Tunnel(*options, std::move(credentials), std::move(signals), std::move(entrance)).run();
}

}  // namespace
}  // namespace tlsfs::cmd

int main(int argc, char** argv) {
    tlsfs::cmd::fill_standard_descriptors();
    return tlsfs::cmd::guarded(tlsfs::cmd::main_with, argc, argv);
}
