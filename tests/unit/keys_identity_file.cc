// SPDX-License-Identifier: MIT
#include "keys/identity_file.h"

#include <doctest/doctest.h>

#include "keys/users.h"

using namespace tlsfs;
using namespace tlsfs::keys;

namespace {

const std::string kRest = "cert /c.pem\nroles server\n";

std::string problem(const std::string& text) {
    const auto file = parse_identity_file(text);
    return file ? "" : file.error().text;
}

KeyPlace key(const std::string& word) {
    const auto file = parse_identity_file(kRest + "key " + word + "\n");
    REQUIRE(file);
    return file->key;
}

}  // namespace

TEST_CASE("identity file: all keys") {
    const auto file = parse_identity_file(
        "# comment\ncert /etc/ssl/git.pem\n\nkey '/etc/ssl/my git.key'  # here\n"
        "users git www-data 1000\nroles client server\nminimum-version 1.3");
    REQUIRE(file);
    CHECK(file->cert == "/etc/ssl/git.pem");
    CHECK(file->key.where == KeyPlace::Where::file);
    CHECK(file->key.place == "/etc/ssl/my git.key");
    CHECK(file->users == std::vector<std::string>{"git", "www-data", "1000"});
    CHECK(file->roles == std::set<Role>{Role::client, Role::server});
    CHECK(file->min_version == TlsVersion::tls13);
}

TEST_CASE("identity file: where a key may be") {
    CHECK(key("pkcs11:token=t;object=o").where == KeyPlace::Where::pkcs11);
    CHECK(key("handle:0x81000001").where == KeyPlace::Where::tpm);
    CHECK(key("object:/x").where == KeyPlace::Where::tpm);
    const std::string wrong = problem(kRest + "key pkcs12:pin-value=1234\n");
    CHECK(wrong.starts_with("line 3: key: neither"));
    CHECK(wrong.find("1234") == std::string::npos);
}

TEST_CASE("identity file: what is wrong is said with its line") {
    CHECK(problem("") == "cert is missing");
    CHECK(problem("cert /c\nroles server\n") == "key is missing");
    CHECK(problem("cert /c\nkey /k\n") == "roles is missing");
    CHECK(problem(kRest + "key /k\nkey /l\n") == "line 4: key is set already");
    CHECK(problem("cert c.pem\n") == "line 1: cert: 'c.pem' does not begin with /");
    CHECK(problem("cert\n") == "line 1: cert has no value");
    CHECK(problem("cert /a /b\n") == "line 1: cert takes one value");
    CHECK(problem("roles proxy\n") == "line 1: roles: 'proxy' is neither client nor server");
    CHECK(problem("minimum-version 1.1\n").starts_with("line 1: minimum-version"));
    CHECK(problem("users ''\n") == "line 1: users: an empty name");
    CHECK(problem("nonsense 1\n") == "line 1: unknown key 'nonsense'");
    CHECK(problem("\n\ncert '/c\n") == "line 3: a quote is open at the end of the line");
    CHECK(problem("cert /c\r\n") == "line 1: a control character");
    CHECK(problem("users" + std::string(" x") + "\n") == "cert is missing");
    std::string many = "users";
    for (std::size_t i = 0; i <= kMaxUsers; ++i) many += " x";
    CHECK(problem(many + "\n") == "line 1: users: more than 64");
    CHECK(problem(std::string(kMaxIdentityFile + 1, '#')) == "more than 16384 bytes");
}

TEST_CASE("users: names, numbers, everybody") {
    const Users some({"root", "1234"});
    CHECK(some.allows(0));
    CHECK(some.allows(1234));
    CHECK_FALSE(some.allows(1235));
    CHECK(some.unknown().empty());
    CHECK(Users({"*"}).allows(4711));
    CHECK_FALSE(Users({}).allows(0));
    const Users nobody({"no-such-user-here"});
    CHECK(nobody.unknown() == std::vector<std::string>{"no-such-user-here"});
    CHECK_FALSE(nobody.allows(1234));
    CHECK_FALSE(nobody.allows(Users::kFirstDynamic));
}
