// SPDX-License-Identifier: MIT
#include "host_port.h"

#include <doctest/doctest.h>

using namespace tlsfs::internal;

TEST_CASE("HOST:PORT, with an IPv6 address in brackets") {
    const auto parsed = [](const char* text) {
        const auto found = parse_host_port(text);
        return found ? found->host + " " + found->port : "none";
    };
    CHECK(parsed("example.com:443") == "example.com 443");
    CHECK(parsed("example.com:https") == "example.com https");
    CHECK(parsed("[2001:db8::1]:443") == "2001:db8::1 443");
    CHECK(parsed(":443") == " 443");
    for (const char* text : {"", ":", "example.com", "example.com:", "2001:db8::1:443", "[::1]"}) {
        CHECK(parsed(text) == "none");
    }
}

TEST_CASE("a port is a number or a service") {
    for (const char* text : {"1", "443", "65535", "https", "z39-50-c"}) CHECK(is_port(text));
    for (const char* text :
         {"", "0", "65536", "65579", "443 ", "-", "4 43", "a_b", "99999999999"}) {
        CHECK_FALSE(is_port(text));
    }
}

TEST_CASE("a host name has letters, digits, hyphens and dots") {
    for (const char* text : {"localhost", "example.com", "example.com.", "xn--bcher-kva.example",
                             "a-b.c1", "192.0.2.1"}) {
        CHECK(is_host_name(text));
    }
    for (const char* text :
         {"", ".", "a..b", ".a", "-a.example", "a-.example", "a b", "a_b", "a\nb",
          "b\xc3\xbc"
          "cher.example",
          "$(reboot)", "2001:db8::1"}) {
        CHECK_FALSE(is_host_name(text));
    }
    CHECK(is_host_name(std::string(63, 'a')));
    CHECK_FALSE(is_host_name(std::string(64, 'a')));
    std::string longest;
    for (int i = 0; i < 126; ++i) longest += "a.";
    CHECK(is_host_name(longest + "b"));
    CHECK_FALSE(is_host_name(longest + "bc"));
}
