// SPDX-License-Identifier: MIT
#include "tlsstat_export.h"

#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "number.h"
#include "tlsstat_table.h"

namespace tlsfs::cmd {
namespace {

using Json = nlohmann::json;

Json object_of(const Seen& seen) {
    Json object{{"Number", seen.number}};
    for (const auto& [tag, value] : seen.status) object[tag] = value;
    for (const auto& [name, value] : seen.stats) object[name] = value;
    const std::string owner = seen.tag("Owner");
    if (const auto uid = parse_number<unsigned long>(owner)) {
        object["Owner"] = *uid;
        object["User"] = user_text(owner);
    }
    return object;
}

Json object_of(const CertificateWords& certificate) {
    return {{"Subject", certificate.subject},      {"Issuer", certificate.issuer},
            {"NotBefore", certificate.not_before}, {"NotAfter", certificate.not_after},
            {"Names", certificate.names},          {"Key", certificate.key},
            {"SHA256", certificate.sha256}};
}

// Nothing in it can make this throw: it is all ASCII, and what were not would be replaced.
std::string line_of(const Json& array) {
    return array.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

std::string label(std::string_view name, std::string_view value) {
    std::string text(name);
    text += "=\"";
    for (const char c : value) {
        if (c == '\\' || c == '"') text += '\\';
        text += c;
    }
    return text + "\"";
}

std::string joined(const std::vector<std::string>& labels) {
    std::string text;
    for (const std::string& one : labels) text += (text.empty() ? "" : ",") + one;
    return "{" + text + "}";
}

std::string metric_head(std::string_view name, std::string_view type, std::string_view help) {
    return "# HELP " + std::string(name) + " " + std::string(help) + "\n# TYPE " +
           std::string(name) + " " + std::string(type) + "\n";
}

struct Counter {
    std::string_view metric, help, in, out;
};
constexpr std::array kCounters{
    Counter{"tlsfs_connection_data_bytes_total", "Plaintext of a connection.", "DataIn", "DataOut"},
    Counter{"tlsfs_connection_wire_bytes_total", "Bytes on the transport of a connection.",
            "WireIn", "WireOut"},
    Counter{"tlsfs_connection_records_total", "TLS records of a connection.", "RecordsIn",
            "RecordsOut"},
};

std::string counter_lines(const Counter& counter, const std::vector<Seen>& all) {
    std::string text = metric_head(counter.metric, "counter", counter.help);
    for (const Seen& seen : all) {
        for (const auto& [direction, name] :
             {std::pair{"in", counter.in}, std::pair{"out", counter.out}}) {
            text += counter.metric;
            text += joined({label("connection", std::to_string(seen.number)),
                            label("owner", seen.tag("Owner")), label("direction", direction)});
            text += " " + std::to_string(seen.count(std::string(name))) + "\n";
        }
    }
    return text;
}

}  // namespace

std::string json(const std::vector<Seen>& all, const Rates* rates) {
    Json array = Json::array();
    for (const Seen& seen : all) {
        Json object = object_of(seen);
        const auto rate = rates == nullptr ? Rates::const_iterator{} : rates->find(seen.number);
        if (rates != nullptr && rate != rates->end()) {
            object["RateIn"] = std::llround(rate->second.in);
            object["RateOut"] = std::llround(rate->second.out);
        }
        array.push_back(std::move(object));
    }
    return line_of(array);
}

std::string json(const Seen& seen, const std::vector<CertificateWords>& chain) {
    Json object = object_of(seen);
    object["Chain"] = Json::array();
    for (const CertificateWords& certificate : chain) {
        object["Chain"].push_back(object_of(certificate));
    }
    return line_of(Json::array({std::move(object)}));
}

std::string exposition(const std::vector<Seen>& all) {
    std::map<std::string, std::size_t> alike;
    for (const Seen& seen : all) {
        std::vector<std::string> labels;
        for (const auto& [name, tag] :
             {std::pair{"state", "State"}, std::pair{"engine", "Engine"}, std::pair{"role", "Role"},
              std::pair{"version", "Version"}, std::pair{"owner", "Owner"}}) {
            labels.push_back(label(name, seen.tag(tag)));
        }
        ++alike[joined(labels)];
    }
    std::string text = metric_head("tlsfs_connections", "gauge", "Connections that are alike.");
    for (const auto& [labels, count] : alike) {
        text += "tlsfs_connections" + labels + " " + std::to_string(count) + "\n";
    }
    for (const Counter& counter : kCounters) text += counter_lines(counter, all);
    return text;
}

}  // namespace tlsfs::cmd
