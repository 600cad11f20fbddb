// SPDX-License-Identifier: MIT
#include "tunnel_options.h"

#include <string_view>

#include "arguments.h"
#include "number.h"
#include "report.h"

namespace tlsfs::cmd {
namespace {

constexpr const char* kSynopsis =
    "tlstunnel client -l LISTEN -t TARGET [OPTION]...\n"
    "       tlstunnel server -l LISTEN -t TARGET -c CERT -k KEY|--identity NAME [OPTION]...";
constexpr const char* kDescription =
    "Relays between plain and TLS, for programs that cannot be changed. A client takes plain "
    "connections to a TLS server, a server takes TLS connections to a plain one; --help behind "
    "either word lists its options.";

// Words of the command line that are still to be understood.
struct Words {
    std::vector<std::string> listen, targets;
    std::string socket_mode;
    std::string starttls;
    bool round_robin = false;
};

void add_common(CommandLine& line, TunnelOptions& options, Words& words) {
    CLI::App& app = line.options();
    add_list(app, "-l,--listen", words.listen, "Accept connections here (repeatable)")
        ->type_name("[ADDR]:PORT|/PATH|systemd")
        ->required();
    add_list(app, "-t,--target", words.targets,
             "Connect to here; to the next one if that fails (repeatable)")
        ->type_name("[HOST]:PORT|/PATH")
        ->required();
    app.add_flag("--round-robin", words.round_robin, "Begin with another target each time");
    app.add_option("--socket-mode", words.socket_mode, "The mode of Unix sockets (by the umask)")
        ->type_name("OCTAL");
    app.add_option("-C,--max-connections", options.max_connections,
                   "Connections at the same time (1000)")
        ->check(CLI::Range(1, 1'000'000).description(""))
        ->type_name("NUMBER");
    add_seconds(app, "--connect-timeout", options.connect_timeout,
                "Seconds to wait for a target (10)");
    add_seconds(app, "--idle", options.idle,
                "End connections on which nothing moves for so long (0: never)", 0);
    add_seconds(app, "--grace", options.grace,
                "Seconds that connections have to end, once a signal has come (30)", 0);
    app.add_option("--starttls", words.starttls,
                   "Begin TLS as this protocol does: " + starttls_names())
        ->type_name("PROTOCOL");
    app.add_flag("-v,--verbose", options.verbose, "One line on stderr about each connection");
}

void add_client(CommandLine& line, ClientOptions& client) {
    line.add_client(client, {.ca_file = "--ca-file", .cert = "-c,--cert", .key = "-k,--key"});
    line.add_policy(client.policy, "--alpn");
}

void add_server(CommandLine& line, ServerOptions& server, TunnelOptions& options) {
    line.add_server(server);
    line.add_policy(server.policy, "--alpn");
    CLI::App& app = line.options();
    app.add_flag("--proxy-v2", options.proxy_header,
                 "Tell the target who the peer is (PROXY protocol, version 2)");
    app.add_flag("--accept-proxy-v2", options.accept_proxy_header,
                 "Demand the same header before each handshake");
}

std::optional<ListenPlace> parse_listen_place(const std::string& text) {
    if (text == "systemd") return PassedSockets{};
    if (const auto path = parse_socket_path(text)) return SocketFile{*path};
    if (const auto address = parse_host_port(text)) return *address;
    return std::nullopt;
}

std::optional<mode_t> parse_mode(const std::string& text) {
    const auto mode = parse_number<mode_t>(text, 8);
    return mode && *mode <= 0777 ? mode : std::nullopt;
}

// A server whose name nobody has said could be anybody.
bool lacks_name(const ClientOptions& client, const Target& target) {
    const bool by_name = client.pins.empty() && !client.accept_any_certificate;
    return by_name && client.name.empty() && target.address.host.empty();
}

// What is wrong with the words, or nothing.
std::optional<std::string> understand(const Words& words, TunnelOptions& options) {
    for (const std::string& text : words.listen) {
        const auto place = parse_listen_place(text);
        if (!place) return "-l takes [ADDR]:PORT, a path or systemd, not '" + text + "'";
        options.listen.push_back(*place);
    }
    for (const std::string& text : words.targets) {
        const auto target = parse_target(text);
        if (!target) return "-t takes [HOST]:PORT or a path, not '" + text + "'";
        options.targets.push_back(*target);
    }
    if (!words.socket_mode.empty()) {
        options.socket_mode = parse_mode(words.socket_mode);
        if (!options.socket_mode) return "--socket-mode takes an octal number up to 777";
    }
    if (!words.starttls.empty()) {
        options.starttls = find_starttls(words.starttls);
        if (options.starttls == nullptr) return "--starttls takes one of " + starttls_names();
    }
    if (words.round_robin) options.order = Targets::Order::round_robin;
    const auto* client = std::get_if<ClientOptions>(&options.role);
    if (client == nullptr) return std::nullopt;
    for (const Target& target : options.targets) {
        if (lacks_name(*client, target)) {
            return "-n is missing: what must the certificate of '" + target.text + "' bear?";
        }
    }
    return std::nullopt;
}

// The companion relays, and has no plaintext to relay where the kernel has the records.
std::optional<std::string> choose_engine(Policy& policy) {
    if (policy.engine == Engine::kernel) return "--engine kernel has no plain side for a tunnel";
    policy.engine = Engine::user;
    return std::nullopt;
}

// The word that must come first has not. --help and --version may stand alone.
int without_role(int argc, const char* const* argv) {
    CommandLine line(kSynopsis, kDescription);
    if (const auto code = line.parse(argc, argv)) return *code;
    return CommandLine::misused("the first word must be client or server");
}

}  // namespace

std::optional<TunnelOptions> parse_tunnel_options(int argc, const char* const* argv,
                                                  int& exit_code) {
    const std::string_view role = argc > 1 ? argv[1] : "";
    if (role != "client" && role != "server") {
        exit_code = without_role(argc, argv);
        return std::nullopt;
    }
    TunnelOptions options;
    Words words;
    CommandLine line(kSynopsis, kDescription);
    add_common(line, options, words);
    Policy* policy = nullptr;
    if (role == "client") {
        auto& client = options.role.emplace<ClientOptions>();
        policy = &client.policy;
        add_client(line, client);
    } else {
        auto& server = options.role.emplace<ServerOptions>();
        policy = &server.policy;
        add_server(line, server, options);
    }
    // The word is left out, so that what stands behind it comes first.
    if (const auto code = line.parse(argc - 1, argv + 1)) {
        exit_code = *code;
        return std::nullopt;
    }
    options.handshake_timeout = policy->timeout;
    auto mistake = understand(words, options);
    if (!mistake) mistake = choose_engine(*policy);
    if (!line.words().empty()) mistake = "what is '" + line.words().front() + "'?";
    if (!mistake) return options;
    exit_code = CommandLine::misused(*mistake);
    return std::nullopt;
}

}  // namespace tlsfs::cmd
