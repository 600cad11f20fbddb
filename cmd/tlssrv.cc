// SPDX-License-Identifier: MIT
// tlssrv(8): puts programs that read and write 0 and 1 behind TLS.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <tuple>

#include "arguments.h"
#include "children.h"
#include "listener.h"
#include "program.h"
#include "report.h"

namespace tlsfs::cmd {
namespace {

constexpr auto kNoDataSocket =
    ": no data socket can be made here, and a program would take who comes by a file for a local "
    "user; --allow-file lets it";

struct Arguments {
    ServerOptions options;
    std::string listen;
    std::size_t max_children = 256;
    bool allow_file = false;
    Talk talk;
    std::vector<std::string> program;
};

void add_options(CommandLine& line, Arguments& arguments) {
    CLI::App& app = line.options();
    line.add_server(arguments.options);
    app.add_option("-l,--listen", arguments.listen, "Accept connections here, not on descriptor 0")
        ->type_name("[ADDR]:PORT|systemd");
    app.add_option("-C,--max-children", arguments.max_children,
                   "Connections served at the same time with -l (256)")
        ->check(CLI::Range(1, 1'000'000).description(""))
        ->type_name("NUMBER");
    app.add_flag("--allow-file", arguments.allow_file,
                 "Where there can be no data socket, let PROGRAM have the file data");
    line.add_policy(arguments.options.policy, "--alpn");
    line.add_talk(arguments.talk);
}

// inetd has our stderr be the peer's socket too: a message would go out in the clear, in the midst
// of the handshake.
void keep_stderr_off_transport(int transport) {
    struct stat theirs{};
    struct stat ours{};
    if (fstat(transport, &theirs) != 0 || fstat(STDERR_FILENO, &ours) != 0) return;
    if (S_ISSOCK(theirs.st_mode) && theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino) {
        drop_descriptor(STDERR_FILENO);
    }
}

bool is_socket(int fd) {
    struct stat info{};
    return fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode);
}

// A socket goes both ways. What is none, a pipe say, has its other half on descriptor 1.
Transport standard_transport() {
    return is_socket(STDIN_FILENO) ? Transport::stream(STDIN_FILENO)
                                   : Transport::pair(STDIN_FILENO, STDOUT_FILENO);
}

int serve(const Arguments& arguments, const Transport& transport, const std::string& peer) {
    Failure why;
    auto connection = server(transport, arguments.options, why);
    if (!connection) return complain_of(why, peer);
    // A mail server takes who has no address for a local user, and relays for him.
    if (!arguments.allow_file && !is_socket(connection->data())) {
        std::ignore = connection->hangup();
        return complain(kExitSystem, peer + kNoDataSocket);
    }
    announce(arguments.talk, connection->agreed());
    return become(arguments.program, std::move(*connection), kStandardPlace);
}

int serve_standard(const Arguments& arguments) {
    keep_stderr_off_transport(STDIN_FILENO);
    return serve(arguments, standard_transport(), "descriptor 0");
}

int serve_listener(const Arguments& arguments) {
    const bool passed = arguments.listen == "systemd";
    const auto address = parse_host_port(arguments.listen);
    if (!address && !passed) return CommandLine::misused("-l takes [ADDR]:PORT, or systemd");
    // What no connection could be made with is better said now than to every peer.
    if (const Failure why = check(arguments.options)) return complain_of(why, "cannot serve");
    Listeners listeners = passed ? passed_listeners() : listen_on(*address);
    if (listeners.empty()) return kExitSystem;
    const auto serve_one = [&arguments](UniqueFd socket_fd, const std::string& peer) {
        return serve(arguments, Transport::stream(socket_fd.get()), peer);
    };
    return accept_connections(std::move(listeners), arguments.max_children, serve_one);
}

int main_with(int argc, const char* const* argv) {
    Arguments arguments;
    CommandLine line(
        "tlssrv -c CERT -k KEY|--identity NAME [-l [ADDR]:PORT] [OPTION]... PROGRAM [ARG]...",
        "Takes TLS on descriptor 0, or on connections to a port, and becomes PROGRAM "
        "with the plaintext as its stdin and stdout.");
    add_options(line, arguments);
    if (const auto exit_code = line.parse(argc, argv)) return *exit_code;
    arguments.program = line.words();
    if (arguments.program.empty()) return CommandLine::misused("PROGRAM is missing");
    return arguments.listen.empty() ? serve_standard(arguments) : serve_listener(arguments);
}

}  // namespace
}  // namespace tlsfs::cmd

int main(int argc, char** argv) {
    tlsfs::cmd::fill_standard_descriptors();
    return tlsfs::cmd::guarded(tlsfs::cmd::main_with, argc, argv);
}
