// SPDX-License-Identifier: MIT
// tlsclient(1): a TLS connection for a program that reads and writes, or for stdin and stdout.

#include <unistd.h>

#include <optional>

#include "arguments.h"
#include "companion_relay.h"
#include "dial.h"
#include "number.h"
#include "opening.h"
#include "plan.h"
#include "program.h"
#include "relay.h"
#include "report.h"
#include "text.h"

namespace tlsfs::cmd {
namespace {

struct Arguments {
    ClientOptions options;
    std::string descriptors;  // -F
    bool ucspi_client = false;
    Talk talk;
};

void add_options(CommandLine& line, Arguments& arguments) {
    CLI::App& app = line.options();
    line.add_client(arguments.options,
                    {.ca_file = "-c,--ca-file", .cert = "-C,--cert", .key = "-K,--key"});
    app.add_option("-F,--fd", arguments.descriptors,
                   "Wrap descriptor R, or R and W, in place of HOST:PORT")
        ->type_name("R[,W]");
    app.add_flag("-6", arguments.ucspi_client, "PROGRAM gets descriptors 6 and 7, not 0 and 1");
    line.add_policy(arguments.options.policy, "-a,--alpn");
    line.add_talk(arguments.talk);
}

std::optional<int> parse_descriptor(std::string_view text) {
    const auto fd = parse_number<int>(text);
    return fd && *fd >= 0 ? fd : std::nullopt;
}

std::optional<Transport> parse_descriptors(std::string_view text) {
    const auto comma = text.find(',');
    const auto read_fd = parse_descriptor(text.substr(0, comma));
    const auto write_fd =
        comma == std::string_view::npos ? read_fd : parse_descriptor(text.substr(comma + 1));
    if (!read_fd || !write_fd) return std::nullopt;
    return Transport::pair(*read_fd, *write_fd);
}

// The companion holds duplicates; ours would keep the peer from seeing the transport end.
void drop_transport(const Transport& transport) {
    if (transport.read_fd < 0) return;
    drop_descriptor(transport.read_fd);
    if (transport.write_fd != transport.read_fd) drop_descriptor(transport.write_fd);
}

bool uses_standard_descriptors(const Transport& transport) {
    return (transport.read_fd >= 0 && transport.read_fd <= 1) ||
           (transport.write_fd >= 0 && transport.write_fd <= 1);
}

int run_program(const Arguments& arguments, const Transport& transport, const std::string& peer,
                const std::vector<std::string>& program) {
    Failure why;
    auto connection = client(transport, arguments.options, why);
    if (!connection) return complain_of(why, peer);
    drop_transport(transport);
    announce(arguments.talk, connection->agreed());
    if (program.empty()) return relay(std::move(*connection), peer);
    const auto place = arguments.ucspi_client ? kUcspiClientPlace : kStandardPlace;
    return become(program, std::move(*connection), place);
}

int complain_of_error(const Error& why, const std::string& peer) {
    return complain_of({why.code, internal::printable(why.text)}, peer);
}

int give_to_companion(const Arguments& arguments, const Transport& transport,
                      const std::string& peer) {
    auto plan = internal::plan_client(arguments.options, transport);
    if (!plan) return complain_of_error(plan.error(), peer);
    auto opening = internal::Opening::prepare(transport, std::move(*plan));
    if (!opening) return complain_of_error(opening.error(), peer);
    opening->relay_to({STDIN_FILENO, STDOUT_FILENO});
    auto opened = opening->open();
    if (!opened) return complain_of_error(opened.error(), peer);
    drop_transport(transport);
    const auto status = internal::parse_tags(opened->status);
    announce(arguments.talk, status);
    return wait_for_companion(opened->guest, status, peer);
}

int run(const Arguments& arguments, const Transport& transport,
        const std::vector<std::string>& program) {
    const std::string peer =
        transport.target.empty() ? "-F " + arguments.descriptors : transport.target;
    const bool kernel_only = arguments.options.policy.engine == Engine::kernel;
    if (program.empty() && !kernel_only && can_give_standard_descriptors()) {
        return give_to_companion(arguments, transport, peer);
    }
    return run_program(arguments, transport, peer, program);
}

int main_with(int argc, const char* const* argv) {
    Arguments arguments;
    CommandLine line(
        "tlsclient [OPTION]... HOST:PORT|/PATH [PROGRAM [ARG]...]\n"
        "       tlsclient [OPTION]... -F R[,W] [PROGRAM [ARG]...]",
        "Makes a TLS connection and relays stdin and stdout, or becomes PROGRAM with it.");
    add_options(line, arguments);
    if (const auto exit_code = line.parse(argc, argv)) return *exit_code;

    std::vector<std::string> words = line.words();
    if (!arguments.descriptors.empty()) {
        const auto transport = parse_descriptors(arguments.descriptors);
        if (!transport) return CommandLine::misused("-F takes R or R,W");
        if (words.empty() && uses_standard_descriptors(*transport)) {
            return CommandLine::misused("-F 0 or 1 needs a PROGRAM: stdin and stdout are taken");
        }
        return run(arguments, *transport, words);
    }
    if (words.empty()) return CommandLine::misused("HOST:PORT is missing");
    const std::string target = words.front();
    if (const auto parsed = internal::parse_dial_target(target); !parsed) {
        return CommandLine::misused(parsed.error().text);
    }
    words.erase(words.begin());
    return run(arguments, Transport::dial(target), words);
}

}  // namespace
}  // namespace tlsfs::cmd

int main(int argc, char** argv) {
    tlsfs::cmd::fill_standard_descriptors();
    return tlsfs::cmd::guarded(tlsfs::cmd::main_with, argc, argv);
}
