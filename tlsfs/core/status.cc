// SPDX-License-Identifier: MIT
#include "core/status.h"

#include <fmt/format.h>

#include <iterator>
#include <map>
#include <sstream>
#include <string_view>

namespace tlsfs {
namespace {

class Lines {
 public:
    void add(std::string_view tag, const std::string& value) {
        if (value.empty()) return;
        fmt::format_to(std::back_inserter(text_), "{}: {}\n", tag, printable(value));
    }
    std::string take() { return std::move(text_); }

 private:
    std::string text_;
};

std::string verification_word(Verification verification) {
    switch (verification) {
        case Verification::unknown:
            return {};
        case Verification::ok:
            return "ok";
        case Verification::none:
            return "none";
        case Verification::pin:
            return "pin";
    }
    return {};
}

std::string resumed_word(const std::optional<bool>& resumed) {
    if (!resumed) return {};
    return *resumed ? "yes" : "no";
}

}  // namespace

std::string printable(std::string text) {
    for (char& c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte >= 0x7f) c = '?';
    }
    return text;
}

const char* role_word(Role role) {
    return role == Role::client ? "client" : "server";
}

std::string status_text(const StatusFields& fields) {
    Lines lines;
    lines.add("State", std::string(state_name(fields.state)));
    lines.add("Engine", fields.engine);
    lines.add("Role", fields.role ? role_word(*fields.role) : "");
    lines.add("Version", fields.version);
    lines.add("Cipher", fields.cipher);
    lines.add("Group", fields.group);
    lines.add("ALPN", fields.alpn);
    lines.add("Name", fields.name);
    lines.add("Verify", verification_word(fields.verification));
    lines.add("Resumed", resumed_word(fields.resumed));
    lines.add("Peer", fields.peer);
    lines.add("PeerSHA256", fields.peer_sha256);
    lines.add("Local", fields.local);
    lines.add("Remote", fields.remote);
    lines.add("Owner", fmt::format("{}", fields.owner));
    lines.add("Error", fields.error);
    return lines.take();
}

StatusFields parse_status(const std::string& text) {
    StatusFields fields;
    const std::map<std::string_view, std::string*> plain{
        {"Engine", &fields.engine}, {"Version", &fields.version},
        {"Cipher", &fields.cipher}, {"Group", &fields.group},
        {"ALPN", &fields.alpn},     {"Name", &fields.name},
        {"Peer", &fields.peer},     {"Local", &fields.local},
        {"Remote", &fields.remote}, {"PeerSHA256", &fields.peer_sha256},
    };
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        const auto colon = line.find(": ");
        if (colon == std::string::npos) continue;
        const auto tag = std::string_view(line).substr(0, colon);
        const std::string value = line.substr(colon + 2);
        if (const auto found = plain.find(tag); found != plain.end()) *found->second = value;
        if (tag == "Role") fields.role = value == "client" ? Role::client : Role::server;
        if (tag == "Resumed") fields.resumed = value == "yes";
        if (tag != "Verify") continue;
        for (const auto word : {Verification::ok, Verification::none, Verification::pin}) {
            if (verification_word(word) == value) fields.verification = word;
        }
    }
    return fields;
}

std::string stats_text(const Stats& stats) {
    return fmt::format(
        "DataIn: {}\nDataOut: {}\nWireIn: {}\nWireOut: {}\nRecordsIn: {}\nRecordsOut: {}\n"
        "HandshakeMicroseconds: {}\nKeyUpdates: {}\n",
        stats.data_in, stats.data_out, stats.wire_in, stats.wire_out, stats.records_in,
        stats.records_out, stats.handshake_microseconds, stats.key_updates);
}

}  // namespace tlsfs
