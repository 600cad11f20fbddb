// SPDX-License-Identifier: MIT
// What tlstunnel parses: words of its command line, and headers that strangers send.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>

#include "listener.h"
#include "proxy_header.h"
#include "proxy_reader.h"
#include "targets.h"

using namespace tlsfs::cmd;
using namespace std::string_literals;

namespace {

SocketAddress ipv4(const char* text, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    inet_pton(AF_INET, text, &address.sin_addr);
    return {&address, sizeof(address)};
}

SocketAddress ipv6(const char* text, std::uint16_t port) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    inet_pton(AF_INET6, text, &address.sin6_addr);
    return {&address, sizeof(address)};
}

const std::string kSignature = "\r\n\r\n\0\r\nQUIT\n"s;

std::string header(unsigned version, unsigned family, std::size_t size) {
    return kSignature + static_cast<char>(version) + static_cast<char>(family) +
           static_cast<char>(size >> 8) + static_cast<char>(size & 0xff);
}

std::string start_of(const std::string& whole) {
    return whole.substr(0, kProxyStart);
}

std::string rest_of(const std::string& whole) {
    return whole.substr(kProxyStart);
}

// 192.0.2.1:1000 to 198.51.100.7:443.
const std::string kTcp4 = "\xc0\x00\x02\x01\xc6\x33\x64\x07\x03\xe8\x01\xbb"s;

bool is_refused(const std::string& start, const std::string& rest) {
    return !parse_proxy_header(start, rest).has_value();
}

}  // namespace

TEST_CASE("tunnel: hosts and ports") {
    CHECK(parse_host_port("localhost:443")->host == "localhost");
    CHECK(parse_host_port(":443")->host.empty());
    CHECK(parse_host_port("[::1]:https")->host == "::1");
    CHECK(parse_host_port("[::1]:https")->port == "https");
    for (const char* wrong : {"", "443", "localhost", "localhost:", "::1:443", ":"}) {
        CAPTURE(wrong);
        CHECK_FALSE(parse_host_port(wrong));
    }
}

TEST_CASE("tunnel: paths of sockets, and what is none") {
    CHECK(parse_socket_path("/run/x:y") == "/run/x:y");
    CHECK(parse_socket_path("unix:x") == "x");
    CHECK_FALSE(parse_socket_path("unix:"));
    CHECK_FALSE(parse_socket_path("x"));
    CHECK(parse_target("/run/x")->path == "/run/x");
    CHECK(parse_target("unix:x")->path == "x");
    CHECK(parse_target("unix:1")->address.host.empty());
    CHECK(parse_target("a:1")->address.port == "1");
    CHECK_FALSE(parse_target("nowhere"));
    CHECK_FALSE(path_address(std::string(sizeof(sockaddr_un::sun_path), 'x')));
    CHECK(path_address(std::string(sizeof(sockaddr_un::sun_path) - 1, 'x')));
}

TEST_CASE("tunnel: addresses as text") {
    CHECK(address_text(ipv4("192.0.2.1", 80)) == "192.0.2.1:80");
    CHECK(address_text(ipv6("2001:db8::1", 80)) == "[2001:db8::1]:80");
    CHECK(address_text(without_mapping(ipv6("::ffff:192.0.2.1", 80))) == "192.0.2.1:80");
    CHECK(address_text(without_mapping(ipv6("2001:db8::1", 80))) == "[2001:db8::1]:80");
    CHECK(address_text(*path_address("/x")) == "a local socket");
}

TEST_CASE("PROXY: byte for byte") {
    const Endpoints endpoints{ipv4("192.0.2.1", 1000), ipv4("198.51.100.7", 443)};
    const std::string ssl = "\x20\x00\x05\x01\x00\x00\x00\x01"s;
    CHECK(proxy_header(endpoints, {}) ==
          header(0x21, 0x11, kTcp4.size() + ssl.size()) + kTcp4 + ssl);
}

TEST_CASE("PROXY: what is known of TLS") {
    const Endpoints endpoints{ipv4("192.0.2.1", 1000), ipv4("198.51.100.7", 443)};
    std::map<std::string, std::string> tags{
        {"ALPN", "h2"},       {"Name", "server.test"}, {"Version", "TLSv1.3"}, {"Cipher", "C"},
        {"Peer", "CN=a,O=b"}, {"PeerSHA256", "00"},    {"Verify", "ok"},       {"Resumed", "no"}};
    const std::string names = "\x01\x00\x02h2\x02\x00\x0bserver.test"s;
    const std::string version = "\x21\x00\x07TLSv1.3"s;
    const std::string cipher = "\x23\x00\x01"s + "C";
    const std::string common_name = "\x22\x00\x01"s + "a";
    const auto ends_with = [&](const std::string& client, const std::string& name) {
        const std::string ssl = client + version + name + cipher;
        const std::string all = names + "\x20"s + '\0' + static_cast<char>(ssl.size()) + ssl;
        return proxy_header(endpoints, tags).ends_with(all);
    };
    CHECK(ends_with("\x07\x00\x00\x00\x00"s, common_name));
    tags["Resumed"] = "yes";  // the certificate was shown earlier
    CHECK(ends_with("\x05\x00\x00\x00\x00"s, common_name));
    tags["Verify"] = "none";  // what nobody has verified is no name
    CHECK(ends_with("\x05\x00\x00\x00\x01"s, ""));
    tags.erase("PeerSHA256");
    tags["Verify"] = "ok";
    CHECK(ends_with("\x01\x00\x00\x00\x01"s, ""));
}

TEST_CASE("PROXY: families") {
    const auto family = [](const Endpoints& endpoints) {
        return static_cast<unsigned char>(proxy_header(endpoints, {})[13]);
    };
    CHECK(family({ipv6("2001:db8::1", 1), ipv6("::1", 2)}) == 0x21);
    CHECK(family({ipv6("::ffff:192.0.2.1", 1), ipv6("::ffff:192.0.2.2", 2)}) == 0x11);
    CHECK(family({ipv4("192.0.2.1", 1), ipv6("::1", 2)}) == 0x00);
    CHECK(family({*path_address(""), *path_address("/x")}) == 0x31);
    CHECK(proxy_header({*path_address(""), *path_address("/x")}, {}).size() ==
          kProxyStart + 216 + 8);
}

TEST_CASE("PROXY: what was written is read again") {
    const Endpoints four{ipv4("192.0.2.1", 1000), ipv4("198.51.100.7", 443)};
    const Endpoints six{ipv6("2001:db8::1", 1000), ipv6("2001:db8::2", 443)};
    for (const Endpoints& endpoints : {four, six}) {
        const std::string whole = proxy_header(endpoints, {{"Name", "x"}});
        CHECK(*proxy_rest_size(start_of(whole)) == whole.size() - kProxyStart);
        const auto parsed = parse_proxy_header(start_of(whole), rest_of(whole));
        REQUIRE(parsed);
        REQUIRE(*parsed);
        CHECK(address_text((*parsed)->source) == address_text(endpoints.source));
        CHECK(address_text((*parsed)->destination) == address_text(endpoints.destination));
    }
}

TEST_CASE("PROXY: headers without addresses") {
    CHECK_FALSE(*parse_proxy_header(header(0x21, 0x00, 0), ""));
    CHECK_FALSE(*parse_proxy_header(header(0x20, 0x00, 0), ""));
    CHECK_FALSE(*parse_proxy_header(header(0x20, 0x11, 12), kTcp4));
    CHECK_FALSE(*parse_proxy_header(header(0x20, 0x77, 3), "???"));  // LOCAL: skipped, whatever
    CHECK_FALSE(*parse_proxy_header(header(0x21, 0x31, 216), std::string(216, 'x')));
}

TEST_CASE("PROXY: what is malformed is refused") {
    const std::string good = header(0x21, 0x11, 12);
    CHECK_FALSE(is_refused(good, kTcp4));
    SUBCASE("another signature") {
        for (std::size_t at = 0; at < kSignature.size(); ++at) {
            std::string other = good;
            other[at] ^= 1;
            CHECK(is_refused(other, kTcp4));
        }
        CHECK(is_refused("PROXY TCP4 192.0.2.1 ", kTcp4));
        CHECK(is_refused("", ""));
        CHECK(is_refused(good.substr(0, 15), ""));
    }
    SUBCASE("another version, another command") {
        for (const unsigned version : {0x01U, 0x11U, 0x22U, 0x2fU, 0x31U, 0x00U, 0xffU}) {
            CHECK(is_refused(header(version, 0x11, 12), kTcp4));
        }
    }
    SUBCASE("no stream, no family") {
        for (const unsigned family : {0x12U, 0x22U, 0x32U, 0x10U, 0x01U, 0x41U, 0xffU}) {
            CHECK(is_refused(header(0x21, family, 216), std::string(216, '\0')));
        }
    }
    SUBCASE("too short for its addresses") {
        for (std::size_t size = 0; size < 12; ++size) {
            CHECK(is_refused(header(0x21, 0x11, size), kTcp4.substr(0, size)));
        }
        CHECK(is_refused(header(0x21, 0x21, 35), std::string(35, 'x')));
        CHECK(is_refused(header(0x21, 0x31, 215), std::string(215, 'x')));
    }
    SUBCASE("another size than it says") {
        CHECK(is_refused(header(0x21, 0x11, 13), kTcp4));
        CHECK(is_refused(header(0x21, 0x11, 11), kTcp4));
        CHECK(is_refused(good, kTcp4 + "x"));
    }
    SUBCASE("longer than we take") {
        CHECK(proxy_rest_size(header(0x21, 0x11, kMaxProxyRest)));
        CHECK_FALSE(proxy_rest_size(header(0x21, 0x11, kMaxProxyRest + 1)));
        CHECK_FALSE(proxy_rest_size(header(0x21, 0x11, 65535)));
    }
    SUBCASE("records that do not fill it") {
        for (const std::string& records :
             {"\x04"s, "\x04\x00"s, "\x04\x00\x01"s, "\x04\x00\x00\x04"s, "\x04\xff\xffxx"s,
              "\x04\x00\x02x"s}) {
            CHECK(is_refused(header(0x21, 0x11, 12 + records.size()), kTcp4 + records));
        }
        const std::string fine = "\x04\x00\x00\x05\x00\x01x"s;
        CHECK_FALSE(is_refused(header(0x21, 0x11, 12 + fine.size()), kTcp4 + fine));
    }
}

TEST_CASE("PROXY: common names") {
    CHECK(common_name("CN=alice") == "alice");
    CHECK(common_name("CN=alice,OU=x,O=y") == "alice");
    CHECK(common_name("O=y,CN=alice") == "alice");
    CHECK(common_name("O=y+CN=alice,C=z") == "alice");
    CHECK(common_name("CN=one,CN=two") == "one");
    CHECK(common_name("CN=a\\,b\\+c\\=d\\\\") == "a,b+c=d\\");
    CHECK(common_name("CN=a=b") == "a=b");
    CHECK(common_name("CN=\\C3\\A4") == "\xc3\xa4");
    // No part of another name becomes one.
    CHECK(common_name("O=x\\,CN=admin").empty());
    CHECK(common_name("O=x\\+CN=admin,CN=alice") == "alice");
    CHECK(common_name("O=\\\\,CN=alice") == "alice");
    // Nothing where it could be read in two ways.
    CHECK(common_name("CN=admin\\00.evil").empty());
    CHECK(common_name("CN=#0C0561646D696E").empty());
    CHECK(common_name("CN=" + std::string(257, 'x')).empty());
    for (const char* odd : {"", ",", "CN", "CN=", "=", "\\", "CN=\\", "O=\\4", "XCN=a"}) {
        CAPTURE(odd);
        CHECK(common_name(odd).empty());
    }
    CHECK(common_name("CN=\\4") == "4");
}

TEST_CASE("PROXY: the reader takes the header and not a byte more") {
    std::array<int, 2> ends{};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
    const tlsfs::UniqueFd ours(ends[0]);
    tlsfs::UniqueFd theirs(ends[1]);
    ProxyReader reader;
    const auto send = [&](const std::string& bytes) {
        REQUIRE(write(theirs.get(), bytes.data(), bytes.size()) ==
                static_cast<ssize_t>(bytes.size()));
    };
    SUBCASE("it is followed by something") {
        const std::string whole = header(0x21, 0x11, 12) + kTcp4;
        send(whole.substr(0, 5));
        CHECK_FALSE(*reader.read(ours.get()));
        send(whole.substr(5, 20));
        CHECK_FALSE(*reader.read(ours.get()));
        send(whole.substr(25) + "next");
        CHECK(*reader.read(ours.get()));
        const auto told = reader.endpoints();
        REQUIRE(told);
        CHECK(address_text((*told)->source) == "192.0.2.1:1000");
        std::array<char, 16> rest{};
        CHECK(read(ours.get(), rest.data(), rest.size()) == 4);
    }
    SUBCASE("it ends early") {
        send(header(0x21, 0x11, 12) + "x");
        theirs.reset();
        CHECK(reader.read(ours.get()).error().code == EPROTO);
    }
    SUBCASE("it does not go on") {
        send(header(0x21, 0x11, 12) + "x");
        CHECK_FALSE(*reader.read(ours.get()));
    }
}
