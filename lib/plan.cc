// SPDX-License-Identifier: MIT
#include "plan.h"

#include <algorithm>
#include <string_view>

#include "dial.h"
#include "text.h"

namespace tlsfs::internal {
namespace {

using Words = std::vector<std::string>;

// Collects ctl lines, and keeps in mind whether all of them can be said.
class Lines {
 public:
    void add(std::string_view verb, const Words& words) {
        text_ += verb;
        for (const std::string& word : words) {
            const auto safe = internal::quoted(word);
            if (!safe) unspeakable_ = verb;
            text_ += " " + safe.value_or("''");
        }
        text_ += '\n';
    }

    Result<std::string> take() {
        if (unspeakable_.empty()) return std::move(text_);
        return failure(EINVAL, unspeakable_ + ": a word holds a newline or a NUL");
    }

 private:
    std::string text_;
    std::string unspeakable_;
};

std::string version_word(Version version) {
    return version == Version::tls12 ? "1.2" : "1.3";
}

std::string seconds_word(std::chrono::milliseconds time) {
    const std::string fraction = std::to_string(1000 + time.count() % 1000).substr(1);
    return std::to_string(time.count() / 1000) + "." + fraction;
}

std::string engine_word(Engine engine) {
    switch (engine) {
        case Engine::user:
            return "user";
        case Engine::kernel:
            return "kernel";
        case Engine::automatic:
            break;
    }
    return "auto";
}

void add_policy(Lines& lines, const Policy& policy) {
    const Policy defaults;
    if (policy.min_version != defaults.min_version || policy.max_version != defaults.max_version) {
        lines.add("version", {version_word(policy.min_version), version_word(policy.max_version)});
    }
    if (!policy.ciphers.empty()) lines.add("ciphers", {policy.ciphers});
    if (!policy.groups.empty()) lines.add("groups", {policy.groups});
    if (!policy.alpn.empty()) lines.add("alpn", policy.alpn);
    if (policy.timeout != defaults.timeout) lines.add("timeout", {seconds_word(policy.timeout)});
    if (policy.engine != defaults.engine) lines.add("engine", {engine_word(policy.engine)});
}

void add_pins(Lines& lines, const Words& pins) {
    if (pins.empty()) return;
    Words words{"pin"};
    words.insert(words.end(), pins.begin(), pins.end());
    lines.add("verify", words);
}

// An identity takes the place of a certificate and its key.
template <class Options>
Result<> check_own_certificate(const Options& options, bool needed) {
    const bool any_file = !options.cert_file.empty() || !options.key_file.empty();
    const bool both_files = !options.cert_file.empty() && !options.key_file.empty();
    if (!options.identities.empty()) {
        if (!any_file) return {};
        return failure(EINVAL, "an identity and a certificate of one's own exclude each other");
    }
    if (needed && !both_files) {
        return failure(EINVAL, "a server needs a certificate and its key, or an identity");
    }
    if (any_file && !both_files) {
        return failure(EINVAL, "a client certificate needs its key, and a key its certificate");
    }
    return {};
}

Result<Plan> finish(const Policy& policy, Lines lines, std::vector<PemSource> files, Lines start) {
    auto policy_text = lines.take();
    if (!policy_text) return tl::unexpected(policy_text.error());
    auto start_text = start.take();
    if (!start_text) return tl::unexpected(start_text.error());
    return Plan{std::move(*policy_text), std::move(files), std::move(*start_text), policy.timeout,
                policy.engine == Engine::kernel};
}

// What the peer is called; empty if nothing says it.
Result<std::string> peer_name(const ClientOptions& options, const Transport& transport) {
    if (!options.name.empty() || transport.target.empty()) return options.name;
    const auto target = parse_dial_target(transport.target);
    if (!target) return tl::unexpected(target.error());
    return target->address.host;
}

}  // namespace

Result<Plan> plan_client(const ClientOptions& options, const Transport& transport) {
    const int ways_to_trust = (options.ca_file.empty() ? 0 : 1) + (options.pins.empty() ? 0 : 1) +
                              (options.accept_any_certificate ? 1 : 0);
    if (ways_to_trust > 1) {
        return failure(EINVAL, "a CA file, pins and no verification exclude each other");
    }
    if (auto good = check_own_certificate(options, false); !good) {
        return tl::unexpected(good.error());
    }
    Lines lines;
    add_policy(lines, options.policy);
    if (!options.identities.empty()) lines.add("identity", options.identities);
    if (options.accept_any_certificate) lines.add("verify", {"none"});
    add_pins(lines, options.pins);
    if (!options.session_cache) lines.add("session", {"off"});

    std::vector<PemSource> files;
    if (!options.ca_file.empty()) files.push_back({"ca", options.ca_file});
    if (!options.cert_file.empty()) files.push_back({"cert", options.cert_file});
    if (!options.key_file.empty()) files.push_back({"key", options.key_file});

    const auto name = peer_name(options, transport);
    if (!name) return tl::unexpected(name.error());
    Lines start;
    start.add("client", name->empty() ? Words{} : Words{*name});
    return finish(options.policy, std::move(lines), std::move(files), std::move(start));
}

Result<Plan> plan_server(const ServerOptions& options) {
    if (auto good = check_own_certificate(options, true); !good) {
        return tl::unexpected(good.error());
    }
    if (!options.client_ca_file.empty() && !options.client_pins.empty()) {
        return failure(EINVAL, "a CA file and pins exclude each other");
    }
    if (!options.allow.empty() && options.client_ca_file.empty() && options.client_pins.empty()) {
        return failure(EINVAL, "rules for clients need a CA file or pins to verify them by");
    }
    Lines lines;
    add_policy(lines, options.policy);
    if (!options.identities.empty()) lines.add("identity", options.identities);
    if (!options.client_ca_file.empty()) lines.add("verify", {"ca"});
    add_pins(lines, options.client_pins);
    if (!options.allow.empty()) lines.add("allow", options.allow);

    std::vector<PemSource> files;
    if (!options.client_ca_file.empty()) files.push_back({"ca", options.client_ca_file});
    if (!options.cert_file.empty()) files.push_back({"cert", options.cert_file});
    if (!options.key_file.empty()) files.push_back({"key", options.key_file});

    Lines start;
    start.add("server", {});
    return finish(options.policy, std::move(lines), std::move(files), std::move(start));
}

std::string timeout_line(std::chrono::milliseconds left) {
    return "timeout " + seconds_word(std::max(left, std::chrono::milliseconds{1})) + "\n";
}

}  // namespace tlsfs::internal
