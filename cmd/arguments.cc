// SPDX-License-Identifier: MIT
#include "arguments.h"

#include <cmath>
#include <map>
#include <memory>

namespace tlsfs::cmd {
namespace {

const std::map<std::string, Version> kVersions{{"1.2", Version::tls12}, {"1.3", Version::tls13}};
const std::map<std::string, Engine> kEngines{
    {"auto", Engine::automatic}, {"user", Engine::user}, {"kernel", Engine::kernel}};

constexpr const char* kIdentity = "Our certificate and key, by a name that tlskeyd knows";

constexpr const char* kPin = "sha256:HEX|spki:HEX";

// The help of a command: its synopsis, and options without the rules that a mistake would cite.
class Help : public CLI::Formatter {
 public:
    explicit Help(std::string synopsis) : synopsis_(std::move(synopsis)) { column_width(28); }
    std::string make_usage(const CLI::App* /*app*/, std::string /*name*/) const override {
        return "Usage: " + synopsis_ + "\n";
    }
    std::string make_option_opts(const CLI::Option* option) const override {
        const std::string type = option->get_type_name();
        return type.empty() ? "" : " " + type;
    }

 private:
    std::string synopsis_;
};

template <class Value>
std::string words_of(const std::map<std::string, Value>& choices) {
    std::string result;
    for (const auto& [word, value] : choices) result += (result.empty() ? "" : "|") + word;
    return result;
}

template <class Value>
void add_choice(CLI::App& app, const std::string& name, Value& value,
                const std::map<std::string, Value>& choices, const std::string& description) {
    const auto choose = [&value, &choices](const std::string& word) { value = choices.at(word); };
    app.add_option_function<std::string>(name, choose, description)
        ->check(CLI::IsMember(choices).description(""))
        ->type_name(words_of(choices));
}

}  // namespace

CommandLine::CommandLine(const std::string& synopsis, const std::string& description)
    : app_(description) {
    app_.name(program_invocation_short_name);
    app_.formatter(std::make_shared<Help>(synopsis));
    app_.set_version_flag("--version", "tlsfs " TLSFS_VERSION);
    // The rest is taken raw: CLI11 would read a word like [a-z] as a list.
    app_.prefix_command();
}

void CommandLine::add_policy(Policy& policy, const std::string& alpn_names) {
    policy_ = &policy;
    add_list(app_, alpn_names, policy.alpn, "Protocols for ALPN, the preferred one first")
        ->delimiter(',')
        ->type_name("PROTO[,PROTO]...");
    app_.add_option("--ciphers", policy.ciphers, "Cipher suites")->type_name("A[:B]...");
    app_.add_option("--groups", policy.groups, "Key exchange groups")->type_name("A[:B]...");
    add_choice(app_, "--tls-min", policy.min_version, kVersions, "Lowest version of TLS");
    add_choice(app_, "--tls-max", policy.max_version, kVersions, "Highest version of TLS");
    add_choice(app_, "--engine", policy.engine, kEngines, "Who makes the records");
    add_seconds(app_, "-w,--timeout", policy.timeout,
                "Seconds until the handshake must be over (30)");
}

void CommandLine::add_client(ClientOptions& options, const ClientNames& names) {
    app_.add_option("-n,--name", options.name, "The name that the certificate must bear (HOST)")
        ->type_name("NAME");
    auto* ca = app_.add_option(names.ca_file, options.ca_file, "Trust these issuers only (PEM)")
                   ->type_name("FILE");
    auto* cert = app_.add_option(names.cert, options.cert_file, "Our certificate chain (PEM)")
                     ->type_name("FILE");
    auto* key =
        app_.add_option(names.key, options.key_file, "Its private key (PEM)")->type_name("FILE");
    add_list(app_, "--identity", options.identities, kIdentity)
        ->type_name("NAME")
        ->excludes(cert)
        ->excludes(key);
    auto* pins =
        add_list(app_, "-p,--pin", options.pins, "Trust this certificate or key, whoever issued it")
            ->type_name(kPin);
    auto* insecure =
        app_.add_flag("--insecure", options.accept_any_certificate, "Verify nothing at all");
    cert->needs(key);
    key->needs(cert);
    pins->excludes(ca);
    insecure->excludes(ca)->excludes(pins);
    const auto set_session = [&options](std::int64_t /*count*/) { options.session_cache = false; };
    app_.add_flag_function("--no-session", set_session, "Do not resume an earlier session");
}

void CommandLine::add_server(ServerOptions& options) {
    server_ = &options;
    auto* cert =
        app_.add_option("-c,--cert", options.cert_file, "Our certificate chain, leaf first (PEM)")
            ->type_name("FILE");
    auto* key =
        app_.add_option("-k,--key", options.key_file, "Its private key (PEM)")->type_name("FILE");
    add_list(app_, "--identity", options.identities, kIdentity)
        ->type_name("NAME")
        ->excludes(cert)
        ->excludes(key);
    cert->needs(key);
    key->needs(cert);
    auto* ca = app_.add_option("-a,--client-ca", options.client_ca_file,
                               "Demand a client certificate of these issuers (PEM)")
                   ->type_name("FILE");
    add_list(app_, "-p,--pin", options.client_pins,
             "Demand a client certificate that is this one, or has this key")
        ->type_name(kPin)
        ->excludes(ca);
    add_list(app_, "--allow", options.allow,
             "Serve only clients whose certificate has this name (repeatable)")
        ->type_name("cn:|dns:|uri:|email:PATTERN");
}

void CommandLine::add_talk(Talk& talk) {
    app_.add_flag("-v,--verbose", talk.verbose, "One line on stderr about each connection");
    app_.add_flag("--status", talk.status, "All that is known of the connection, on stderr");
}

std::optional<int> CommandLine::parse(int argc, const char* const* argv) {
    try {
        app_.parse(argc, argv);
    } catch (const CLI::Success& asked_for_text) {
        return app_.exit(asked_for_text);
    } catch (const CLI::ParseError& mistake) {
        return misused(mistake.what());
    }
    if (policy_ != nullptr && policy_->min_version > policy_->max_version) {
        return misused("--tls-min is above --tls-max");
    }
    if (server_ != nullptr && server_->cert_file.empty() && server_->identities.empty()) {
        return misused("-c and -k, or --identity, are missing");
    }
    words_ = app_.remaining();
    if (words_.empty()) return std::nullopt;
    if (words_.front() == "--") {
        words_.erase(words_.begin());
    } else if (words_.front().starts_with('-')) {
        return misused("unknown option " + words_.front());
    }
    return std::nullopt;
}

int CommandLine::misused(const std::string& what) {
    return complain(kExitUsage, what + " (--help says more)");
}

CLI::Option* add_list(CLI::App& app, const std::string& names, std::vector<std::string>& list,
                      const std::string& description) {
    return app.add_option(names, list, description)->allow_extra_args(false)->type_name("WORD");
}

CLI::Option* add_seconds(CLI::App& app, const std::string& names, std::chrono::milliseconds& time,
                         const std::string& description, double lowest) {
    const auto set = [&time](double seconds) {
        time = std::chrono::milliseconds(std::llround(seconds * 1000));
    };
    return app.add_option_function<double>(names, set, description)
        ->check(CLI::Range(lowest, 86400.0).description(""))
        ->type_name("SECONDS");
}

}  // namespace tlsfs::cmd
