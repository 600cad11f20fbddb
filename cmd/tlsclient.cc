// SPDX-License-Identifier: MIT
// tlsclient(1): a TLS connection for a program that reads and writes, or for stdin and stdout.

#include <optional>

#include "arguments.h"
#include "number.h"
#include "program.h"
#include "relay.h"
#include "report.h"

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

std::optional<Carrier> parse_descriptors(std::string_view text) {
    const auto comma = text.find(',');
    const auto read_fd = parse_descriptor(text.substr(0, comma));
    const auto write_fd =
        comma == std::string_view::npos ? read_fd : parse_descriptor(text.substr(comma + 1));
    if (!read_fd || !write_fd) return std::nullopt;
    return Carrier::pair(*read_fd, *write_fd);
}

bool is_target(std::string_view text) {
    const auto colon = text.rfind(':');
    return text.starts_with('/') ||
           (colon != std::string_view::npos && colon > 0 && colon + 1 < text.size());
}

// The companion holds duplicates; ours would keep the peer from seeing the carrier end.
void drop_carrier(const Carrier& carrier) {
    if (carrier.read_fd < 0) return;
    drop_descriptor(carrier.read_fd);
    if (carrier.write_fd != carrier.read_fd) drop_descriptor(carrier.write_fd);
}

bool uses_standard_descriptors(const Carrier& carrier) {
    return (carrier.read_fd >= 0 && carrier.read_fd <= 1) ||
           (carrier.write_fd >= 0 && carrier.write_fd <= 1);
}

int run(const Arguments& arguments, const Carrier& carrier,
        const std::vector<std::string>& program) {
    const std::string peer =
        carrier.target.empty() ? "-F " + arguments.descriptors : carrier.target;
    Failure why;
    auto connection = client(carrier, arguments.options, why);
    if (!connection) return complain_of(why, peer);
    drop_carrier(carrier);
    announce(arguments.talk, *connection);
    if (program.empty()) return relay(std::move(*connection), peer);
    const Place place = arguments.ucspi_client ? kUcspiClientPlace : kStandardPlace;
    return become(program, std::move(*connection), place);
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
        const auto carrier = parse_descriptors(arguments.descriptors);
        if (!carrier) return CommandLine::misused("-F takes R or R,W");
        if (words.empty() && uses_standard_descriptors(*carrier)) {
            return CommandLine::misused("-F 0 or 1 needs a PROGRAM: stdin and stdout are taken");
        }
        return run(arguments, *carrier, words);
    }
    if (words.empty()) return CommandLine::misused("HOST:PORT is missing");
    const std::string target = words.front();
    if (!is_target(target)) return CommandLine::misused("'" + target + "' is not HOST:PORT");
    words.erase(words.begin());
    return run(arguments, Carrier::dial(target), words);
}

}  // namespace
}  // namespace tlsfs::cmd

int main(int argc, char** argv) {
    tlsfs::cmd::fill_standard_descriptors();
    return tlsfs::cmd::guarded(tlsfs::cmd::main_with, argc, argv);
}
