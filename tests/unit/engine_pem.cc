// SPDX-License-Identifier: MIT
#include "engine/pem.h"

#include <doctest/doctest.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "engine/pem_judge.h"
#include "support/tls_pair.h"

using namespace tlsfs;
using namespace tlsfs::test;

namespace {

template <class Parsed>
void check_refused(const Parsed& parsed, std::string_view word) {
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == EINVAL);
    CHECK_MESSAGE(parsed.error().text.find(word) != std::string::npos, parsed.error().text);
    CHECK(parsed.error().text.find('\n') == std::string::npos);
}

// Without its last line and with half of the base64.
std::string damaged(const std::string& pem) {
    return pem.substr(0, pem.size() / 2);
}

std::string garbled(std::string pem) {
    pem.replace(pem.size() / 2, 4, "!!!!");
    return pem;
}

const std::string kGarbage = "this is no PEM\n\x01\x02\xff\n";

}  // namespace

TEST_CASE("pem: keys in both encodings") {
    const Certificate& server = world().server;
    const auto modern = parse_key(secret(server.key_pem()));
    REQUIRE(modern);
    CHECK(EVP_PKEY_eq(modern->get(), server.key.get()) == 1);
    const auto traditional = parse_key(secret(server.traditional_key_pem()));
    REQUIRE(traditional);
    CHECK(EVP_PKEY_eq(traditional->get(), server.key.get()) == 1);
    CHECK(parse_key(secret(server.pem() + server.key_pem())));
    CHECK(parse_key(secret("a comment\n" + server.key_pem() + "and another\n")));
}

TEST_CASE("pem: keys of all kinds that sign") {
    const auto check = [](KeyPtr key) {
        REQUIRE(key);
        for (const bool traditional : {false, true}) {
            const BioPtr bio(BIO_new(BIO_s_mem()));
            const auto write =
                traditional ? PEM_write_bio_PrivateKey_traditional(bio.get(), key.get(), nullptr,
                                                                   nullptr, 0, nullptr, nullptr)
                            : PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr,
                                                            0, nullptr, nullptr);
            if (traditional && write != 1) continue;  // not every kind has that form
            REQUIRE(write == 1);
            char* text = nullptr;
            const long size = BIO_get_mem_data(bio.get(), &text);
            const auto parsed = parse_key(SecretBytes(text, text + size));
            REQUIRE(parsed);
            CHECK(EVP_PKEY_eq(parsed->get(), key.get()) == 1);
        }
    };
    check(KeyPtr(EVP_RSA_gen(2048)));
    check(KeyPtr(EVP_EC_gen("P-256")));
    check(KeyPtr(EVP_EC_gen("P-521")));
    check(KeyPtr(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")));
    check(KeyPtr(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED448")));
}

TEST_CASE("pem: encrypted keys are refused, and nobody is asked") {
    check_refused(parse_key(secret(world().server.encrypted_key_pem())), "encrypted");
    check_refused(parse_key(secret(world().server.encrypted_traditional_pem())), "encrypted");
}

TEST_CASE("pem: what is no key") {
    check_refused(parse_key(secret("")), "no private key");
    check_refused(parse_key(secret(kGarbage)), "no private key");
    check_refused(parse_key(secret(world().server.pem())), "key");
    check_refused(parse_key(secret(damaged(world().server.key_pem()))), "key");
    check_refused(parse_key(secret(garbled(world().server.key_pem()))), "key");
    check_refused(
        parse_key(secret(std::string("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))),
        "key");
    check_refused(parse_key(secret(std::string(1000, '\0'))), "no private key");
}

TEST_CASE("pem: chains keep their order") {
    const Certificate middle = make_authority("middle");
    const auto chain = parse_chain(secret(world().server.pem() + "text between\n" + middle.pem()));
    REQUIRE(chain);
    REQUIRE(chain->size() == 2);
    CHECK(X509_cmp(chain->at(0).get(), world().server.certificate.get()) == 0);
    CHECK(X509_cmp(chain->at(1).get(), middle.certificate.get()) == 0);
    CHECK(to_pem({chain->at(0).get(), chain->at(1).get()}) == world().server.pem() + middle.pem());
    CHECK(to_pem({}).empty());
}

TEST_CASE("pem: what is no chain") {
    check_refused(parse_chain(secret("")), "no certificate");
    check_refused(parse_chain(secret(kGarbage)), "no certificate");
    check_refused(parse_chain(secret(world().server.key_pem())), "no certificate");
    check_refused(parse_chain(secret(damaged(world().server.pem()))), "cert");
    check_refused(parse_chain(secret(garbled(world().server.pem()))), "cert");
    check_refused(parse_chain(secret(world().server.pem() + garbled(world().server.pem()))),
                  "cert");
}

TEST_CASE("pem: half a certificate behind a whole one is no chain") {
    check_refused(parse_chain(secret(world().server.pem() + damaged(world().server.pem()))),
                  "cert");
    check_refused(
        parse_authorities(secret(world().authority.pem() + damaged(world().authority.pem()))),
        "ca");
}

TEST_CASE("pem: authorities and revocation lists") {
    const std::string crl = make_crl(world().authority, nullptr);
    const auto plain = parse_authorities(secret(world().authority.pem()));
    REQUIRE(plain);
    CHECK(plain->certificates.size() == 1);
    CHECK(plain->crls.empty());
    const auto both = parse_authorities(secret(crl + world().authority.pem() + crl));
    REQUIRE(both);
    CHECK(both->certificates.size() == 1);
    CHECK(both->crls.size() == 2);
    check_refused(parse_authorities(secret("")), "no certificate");
    check_refused(parse_authorities(secret(crl)), "no certificate");
    check_refused(parse_authorities(secret(world().authority.pem() + garbled(crl))), "ca");
    check_refused(parse_authorities(secret(world().authority.pem() + damaged(crl))), "ca");
}

TEST_CASE("pem: when a text is whole") {
    CHECK(ends_in_block(secret(world().server.pem())));
    CHECK(ends_in_block(secret(world().server.key_pem() + " \r\n\n")));
    CHECK(ends_in_block(secret("-----END X-----")));
    CHECK_FALSE(ends_in_block(secret("")));
    CHECK_FALSE(ends_in_block(secret("\n\n")));
    CHECK_FALSE(ends_in_block(secret("-----")));
    CHECK_FALSE(ends_in_block(secret("-----BEGIN X-----")));
    CHECK_FALSE(ends_in_block(secret(damaged(world().server.pem()))));
}

TEST_CASE("pem: what was good for one file is judged anew for another") {
    PemJudge judge;
    const SecretBytes key = secret(world().server.key_pem()),
                      certificate = secret(world().server.pem());
    for (int i = 0; i < 3; ++i) {
        CHECK(judge.judge(PemFile::key, key));
        CHECK(judge.judge(PemFile::cert, certificate));
        check_refused(judge.judge(PemFile::cert, key), "certificate");
        check_refused(judge.judge(PemFile::key, certificate), "key");
        check_refused(judge.judge(PemFile::key, secret(garbled(world().server.key_pem()))), "key");
    }
    CHECK(judge.judge(PemFile::ca, certificate));
}

TEST_CASE("pem: more than is remembered") {
    PemJudge judge;
    for (int i = 0; i < 600; ++i) {
        const std::string comment = std::to_string(i % 300) + '\n';
        REQUIRE(judge.judge(PemFile::cert, secret(comment + world().server.pem())));
        check_refused(judge.judge(PemFile::cert, secret(comment)), "no certificate");
    }
}
