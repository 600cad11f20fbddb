// SPDX-License-Identifier: MIT
// What tlsstat makes of what it reads; strangers chose much of it.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/certificates.h"
#include "tlsstat_export.h"
#include "tlsstat_table.h"

using namespace tlsfs::cmd;
using std::chrono::seconds;
using tlsfs::test::make_authority;
using tlsfs::test::make_certificate;
using tlsfs::test::Wanted;

namespace {

Seen seen(unsigned number, std::uint64_t in = 0, std::uint64_t out = 0) {
    return {number,
            {{"State", "Established"}, {"Owner", "4294967294"}, {"Remote", "192.0.2.1:443"}},
            {{"DataIn", in}, {"DataOut", out}}};
}

bool is_plain(const std::string& text) {
    return std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; });
}

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
}

}  // namespace

TEST_CASE("tlsstat: bytes for people") {
    CHECK(bytes_text(0) == "0");
    CHECK(bytes_text(9999) == "9999");
    CHECK(bytes_text(10000) == "9.8K");
    CHECK(bytes_text(1024.0 * 1024) == "1.0M");
    CHECK(bytes_text(1024.0 * 1024 - 1) == "1.0M");
    CHECK(bytes_text(1.8e19) == "15.6E");
}

TEST_CASE("tlsstat: the table's columns stand below each other") {
    const auto lines = table({seen(7, 1, 2), seen(12345, 3, 400)}, nullptr);
    REQUIRE(lines.size() == 3);
    CHECK(lines[0] ==
          "    N  OWNER       ENGINE  STATE        PEER           NAME  VERSION  CIPHER  IN  OUT");
    CHECK(lines[1] ==
          "    7  4294967294  -       Established  192.0.2.1:443  -     -        -        1    2");
    CHECK(lines[2] ==
          "12345  4294967294  -       Established  192.0.2.1:443  -     -        -        3  400");
}

TEST_CASE("tlsstat: nothing to show is a head") {
    CHECK(table({}, nullptr).size() == 1);
}

TEST_CASE("tlsstat: a narrow screen keeps what moves") {
    const Rates rates{{7, {10, 20000}}};
    const auto wide = table({seen(7)}, &rates);
    CHECK(wide[0].ends_with("CIPHER  IN  OUT  IN/s  OUT/s"));
    CHECK(wide[1].ends_with("    10  19.5K"));
    const auto narrow = table({seen(7)}, &rates, 70);
    CHECK(narrow[0].size() <= 70);
    CHECK(narrow[0].find("CIPHER") == std::string::npos);
    CHECK(narrow[0].ends_with("IN  OUT  IN/s  OUT/s"));
}

TEST_CASE("tlsstat: a long name does not push the rest away") {
    Seen long_name = seen(1);
    long_name.status["Name"] = std::string(255, 'x');
    CHECK(table({long_name}, nullptr)[1].size() < 160);
    const auto all = description(long_name, {});
    CHECK(std::ranges::count(all, "Name: " + std::string(255, 'x')) == 1);
}

TEST_CASE("tlsstat: rates are what came between") {
    RateMeter meter;
    const RateMeter::Clock::time_point start{};
    CHECK(meter.measure({seen(1, 100, 0)}, start).empty());
    const auto rates = meter.measure({seen(1, 300, 50), seen(2, 5, 5)}, start + seconds{2});
    REQUIRE(rates.size() == 1);
    CHECK(rates.at(1).in == 100);
    CHECK(rates.at(1).out == 25);
    // Another companion counts anew, under the same number.
    CHECK(meter.measure({seen(1, 10, 0)}, start + seconds{3}).empty());
    CHECK(meter.measure({}, start + seconds{4}).empty());
    CHECK(meter.measure({seen(1, 10, 0)}, start + seconds{5}).empty());
}

TEST_CASE("tlsstat: the description names everything, known tags first") {
    Seen one = seen(3, 1, 2);
    one.status["Later"] = "new";
    const auto lines = description(one, {});
    CHECK(lines.front() == "Connection: 3");
    CHECK(lines[1] == "State: Established");
    CHECK(std::ranges::count(lines, "Later: new") == 1);
    CHECK(lines.back() == "DataOut: 2");
}

TEST_CASE("tlsstat: JSON is one line, and nothing breaks out of its string") {
    Seen hostile = seen(1);
    hostile.status["Name"] = "a\"],\\ \n\x1b[31m\xff\xc3";
    const std::string text = json({hostile, seen(2)}, nullptr);
    CHECK(std::ranges::count(text, '\n') == 1);
    CHECK(is_plain(text.substr(0, text.size() - 1)));
    CHECK(text.find(R"("Name":"a\"],\\ \n\u001b[31m)") != std::string::npos);
    CHECK(text.find(R"("Owner":4294967294)") != std::string::npos);
    CHECK(json(std::vector<Seen>{}, nullptr) == "[]\n");
    const Rates rates{{1, {1.4, 2.6}}};
    const std::string live = json({seen(1), seen(2)}, &rates);
    CHECK(count(live, "\"RateIn\":1,\"RateOut\":3") == 1);
}

TEST_CASE("tlsstat: an exposition that a scraper takes") {
    Seen quoting = seen(9);
    quoting.status["Version"] = "\"\\";
    const std::string text = exposition({seen(1, 5, 6), seen(2), quoting});
    CHECK(text.ends_with('\n'));
    CHECK(count(text, "# TYPE tlsfs_connections gauge\n") == 1);
    CHECK(text.find("version=\"\",owner=\"4294967294\"} 2\n") != std::string::npos);
    CHECK(text.find("version=\"\\\"\\\\\",owner") != std::string::npos);
    CHECK(text.find("tlsfs_connection_data_bytes_total{connection=\"1\",owner=\"4294967294\","
                    "direction=\"out\"} 6\n") != std::string::npos);
}

TEST_CASE("tlsstat: a chain in words") {
    const auto authority = make_authority("the issuer");
    Wanted wanted;
    wanted.dns = {"server.test", "*.server.test"};
    wanted.ips = {"192.0.2.1", "2001:db8::1"};
    const auto leaf = make_certificate(wanted, &authority);
    const auto chain = chain_in_words(leaf.pem() + authority.pem());
    REQUIRE(chain.size() == 2);
    CHECK(chain[0].subject == "CN=server");
    CHECK(chain[0].issuer == "CN=the issuer");
    CHECK(chain[0].names == std::vector<std::string>{"DNS:server.test", "DNS:*.server.test",
                                                     "IP:192.0.2.1", "IP:2001:db8::1"});
    CHECK(chain[0].key == "EC prime256v1");
    CHECK(chain[0].sha256.size() == 64);
    CHECK(chain[0].seconds_left > 86000);
    CHECK_FALSE(chain[0].not_yet_valid);
    CHECK(chain[0].not_after.size() == std::string("2026-11-23 06:53:17").size());
    CHECK(chain[1].subject == chain[0].issuer);
    const auto lines = description(seen(1), chain);
    CHECK(std::ranges::count(lines, "    Issuer   CN=the issuer") == 2);
}

TEST_CASE("tlsstat: certificates out of their time") {
    Wanted wanted;
    wanted.valid_from = -10L * 86400;
    wanted.valid_for = -9L * 86400;
    const auto expired = chain_in_words(make_certificate(wanted, nullptr).pem());
    const auto lines = description(seen(1), expired);
    CHECK(std::ranges::any_of(
        lines, [](const std::string& line) { return line.ends_with("UTC, expired 9 days ago"); }));
    wanted.valid_from = 86400;
    wanted.valid_for = 10L * 86400;
    CHECK(chain_in_words(make_certificate(wanted, nullptr).pem())[0].not_yet_valid);
}

TEST_CASE("tlsstat: what a certificate says is shown, not obeyed") {
    Wanted wanted;
    wanted.subject = "evil\x1b[2J\nPeer: good\r";
    wanted.dns = {"good.test\x1b]0;x\x07", "back\\slash"};
    const auto chain = chain_in_words(make_certificate(wanted, nullptr).pem());
    REQUIRE(chain.size() == 1);
    CHECK(is_plain(chain[0].subject));
    REQUIRE(chain[0].names.size() == 2);
    CHECK(chain[0].names[0] == "DNS:good.test\\x1b]0;x\\x07");
    CHECK(chain[0].names[1] == "DNS:back\\x5cslash");
    for (const std::string& line : description(seen(1), chain)) CHECK(is_plain(line));
}

TEST_CASE("tlsstat: what is no chain is none") {
    CHECK(chain_in_words("").empty());
    CHECK(chain_in_words("garbage").empty());
    const std::string pem = make_authority().pem();
    CHECK(chain_in_words(pem.substr(0, pem.size() / 2)).empty());
    CHECK(chain_in_words(pem + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
              .size() == 1);
    std::string many;
    for (int i = 0; i < 200; ++i) many += pem;
    CHECK(chain_in_words(many).size() == 100);
}
