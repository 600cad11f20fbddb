// SPDX-License-Identifier: MIT
#include "tlsstat_table.h"

#include <pwd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>
#include <string_view>

#include "number.h"

namespace tlsfs::cmd {
namespace {

constexpr std::size_t kWidest =
    48;  // of a column: an IPv6 address and port; the whole stands in the description

enum class Side : std::uint8_t { left, right };

struct Column {
    std::string_view head;
    Side side;
};
constexpr std::array kColumns{
    Column{"N", Side::right},      Column{"OWNER", Side::left},  Column{"ENGINE", Side::left},
    Column{"STATE", Side::left},   Column{"PEER", Side::left},   Column{"NAME", Side::left},
    Column{"VERSION", Side::left}, Column{"CIPHER", Side::left}, Column{"IN", Side::right},
    Column{"OUT", Side::right},    Column{"IN/s", Side::right},  Column{"OUT/s", Side::right},
};
constexpr std::size_t kRateColumns = 2;
constexpr std::string_view kGap = "  ";
// On a narrow screen, in this order; the description has them all.
constexpr std::array<std::string_view, 4> kExpendable{"CIPHER", "VERSION", "ENGINE", "NAME"};

using Row = std::vector<std::string>;

std::string or_dash(const std::string& text) {
    return text.empty() ? "-" : text;
}

std::string cut(const std::string& text) {
    return text.size() <= kWidest ? text : text.substr(0, kWidest - 3) + "...";
}

Row row_of(const Seen& seen, const Rates* rates) {
    Row row{std::to_string(seen.number),
            user_text(seen.tag("Owner")),
            seen.tag("Engine"),
            seen.tag("State"),
            seen.tag("Remote"),
            seen.tag("Name"),
            seen.tag("Version"),
            seen.tag("Cipher"),
            bytes_text(static_cast<double>(seen.count("DataIn"))),
            bytes_text(static_cast<double>(seen.count("DataOut")))};
    if (rates != nullptr) {
        const auto rate = rates->find(seen.number);
        const bool known = rate != rates->end();
        row.push_back(known ? bytes_text(rate->second.in) : "");
        row.push_back(known ? bytes_text(rate->second.out) : "");
    }
    for (std::string& field : row) field = cut(or_dash(field));
    return row;
}

std::string padded(const std::string& text, std::size_t width, Side side) {
    const std::string blanks(width - text.size(), ' ');
    return side == Side::right ? blanks + text : text + blanks;
}

// Which columns to show.
std::vector<std::size_t> columns_within(std::size_t width, const std::vector<std::size_t>& widths) {
    std::vector<std::size_t> shown(widths.size());
    std::iota(shown.begin(), shown.end(), std::size_t{0});
    for (const std::string_view head : kExpendable) {
        std::size_t needed = 0;
        for (const std::size_t i : shown) needed += widths[i] + kGap.size();
        if (needed - kGap.size() <= width) break;
        std::erase_if(shown, [&](std::size_t i) { return kColumns.at(i).head == head; });
    }
    return shown;
}

std::string line_of(const Row& row, const std::vector<std::size_t>& shown,
                    const std::vector<std::size_t>& widths) {
    std::string line;
    for (const std::size_t i : shown) {
        if (!line.empty()) line += kGap;
        line += padded(row[i], widths[i], kColumns.at(i).side);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line;
}

std::string validity(const CertificateWords& certificate) {
    const long days = certificate.seconds_left / 86400;
    std::string text = certificate.not_before + " to " + certificate.not_after + " UTC, ";
    if (certificate.not_yet_valid) return text + "not valid yet";
    if (certificate.seconds_left < 0)
        return text + "expired " + std::to_string(-days) + " days ago";
    return text + std::to_string(days) + " days left";
}

void add_certificate(const CertificateWords& certificate, std::vector<std::string>& lines) {
    const auto add = [&lines](std::string_view what, const std::string& text) {
        lines.push_back("    " + padded(std::string(what), 9, Side::left) + text);
    };
    add("Subject", certificate.subject);
    add("Issuer", certificate.issuer);
    add("Valid", validity(certificate));
    for (const std::string& name : certificate.names) add("Name", name);
    add("Key", certificate.key);
    add("SHA-256", certificate.sha256);
}

// The tags in the order of tls(4); what is new there comes last.
constexpr std::array<std::string_view, 16> kTags{
    "State",  "Engine",  "Role", "Version",    "Cipher", "Group",  "ALPN",  "Name",
    "Verify", "Resumed", "Peer", "PeerSHA256", "Local",  "Remote", "Owner", "Error"};
constexpr std::array<std::string_view, 8> kCounts{
    "DataIn",    "DataOut", "WireIn", "WireOut", "RecordsIn", "RecordsOut", "HandshakeMicroseconds",
    "KeyUpdates"};

template <class Map, class Order, class Say>
void in_order(const Map& map, const Order& order, Say say) {
    for (const std::string_view name : order) {
        const auto found = map.find(std::string(name));
        if (found != map.end()) say(found->first, found->second);
    }
    for (const auto& [name, value] : map) {
        if (std::ranges::count(order, name) == 0) say(name, value);
    }
}

}  // namespace

std::string bytes_text(double bytes) {
    constexpr std::string_view kUnits = "KMGTPE";
    std::array<char, 32> text{};
    if (bytes < 9999.5) {
        std::snprintf(text.data(), text.size(), "%.0f", bytes);
        return text.data();
    }
    std::size_t unit = 0;
    for (bytes /= 1024; bytes >= 1023.95 && unit + 1 < kUnits.size(); ++unit) bytes /= 1024;
    std::snprintf(text.data(), text.size(), "%.1f%c", bytes, kUnits[unit]);
    return text.data();
}

std::string user_text(const std::string& uid) {
    const auto number = parse_number<unsigned long>(uid);
    if (!number) return uid;
    const passwd* user = getpwuid(static_cast<uid_t>(*number));
    return user == nullptr ? uid : plain(user->pw_name);
}

std::vector<std::string> table(const std::vector<Seen>& all, const Rates* rates,
                               std::size_t width) {
    const std::size_t columns = kColumns.size() - (rates == nullptr ? kRateColumns : 0);
    std::vector<Row> rows(1);
    for (std::size_t i = 0; i < columns; ++i) rows[0].emplace_back(kColumns.at(i).head);
    for (const Seen& seen : all) rows.push_back(row_of(seen, rates));
    std::vector<std::size_t> widths(columns);
    for (const Row& row : rows) {
        for (std::size_t i = 0; i < columns; ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    const std::vector<std::size_t> shown = columns_within(width, widths);
    std::vector<std::string> lines;
    lines.reserve(rows.size());
    for (const Row& row : rows) lines.push_back(line_of(row, shown, widths));
    return lines;
}

std::vector<std::string> description(const Seen& seen, const std::vector<CertificateWords>& chain) {
    std::vector<std::string> lines{"Connection: " + std::to_string(seen.number)};
    const auto add = [&lines](const std::string& name, const std::string& value) {
        lines.push_back(name + ": " + value);
    };
    in_order(seen.status, kTags, [&](const std::string& name, const std::string& value) {
        const std::string user = name == "Owner" ? user_text(value) : value;
        add(name, user == value ? value : value + " (" + user + ")");
    });
    in_order(seen.stats, kCounts, [&](const std::string& name, std::uint64_t value) {
        add(name, std::to_string(value));
    });
    for (std::size_t i = 0; i < chain.size(); ++i) {
        add("Certificate", std::to_string(i) + (i == 0 ? ", the peer's own" : ", sent with it"));
        add_certificate(chain[i], lines);
    }
    return lines;
}

}  // namespace tlsfs::cmd
