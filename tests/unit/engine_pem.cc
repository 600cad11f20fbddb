// SPDX-License-Identifier: MIT
#include "engine/pem.h"

#include <doctest/doctest.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>

#include "core/bounds.h"
#include "engine/key_bounds.h"
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

void add_length(std::string& der, std::size_t length) {
    if (length < 128) {
        der += static_cast<char>(length);
        return;
    }
    der += '\x82';
    der += static_cast<char>(length >> 8U);
    der += static_cast<char>(length & 0xffU);
}

std::string tagged(char tag, const std::string& content) {
    std::string der(1, tag);
    add_length(der, content.size());
    return der + content;
}

// An odd number of so many bits.
std::string number(int bits) {
    std::string bytes(static_cast<std::size_t>(bits / 8 + 1), '\x55');
    bytes[0] = static_cast<char>(bits % 8 == 0 ? 0 : 1 << (bits % 8 - 1));
    if (bits % 8 == 0) bytes[1] = '\xd5';
    return tagged(2, bytes);
}

// What looks like an RSA key of so many bits. To make a real one takes minutes.
std::string rsa_key(int bits) {
    const std::string small = tagged(2, "\x03");
    const std::string body = tagged(2, std::string(1, '\0')) + number(bits) + small +
                             number(bits - 1) + small + small + small + small + small;
    const std::string der = tagged(0x30, body);
    const BioPtr bio(BIO_new(BIO_s_mem()));
    PEM_write_bio(bio.get(), PEM_STRING_RSA, "", reinterpret_cast<const unsigned char*>(der.data()),
                  static_cast<long>(der.size()));
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    return {text, static_cast<std::size_t>(size)};
}

KeyPtr rsa_public_key(int bits) {
    const std::string der = tagged(0x30, number(bits) + tagged(2, "\x03"));
    const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
    return KeyPtr(d2i_PublicKey(EVP_PKEY_RSA, nullptr, &bytes, static_cast<long>(der.size())));
}

KeyPtr key_with_own_curve() {
    EVP_PKEY* key = nullptr;
    EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr);
    EVP_PKEY_keygen_init(context);
    char curve[] = "P-256", encoding[] = "explicit";
    const OSSL_PARAM wanted[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve, 0),
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_EC_ENCODING, encoding, 0),
        OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX_set_params(context, wanted);
    EVP_PKEY_generate(context, &key);
    EVP_PKEY_CTX_free(context);
    return KeyPtr(key);
}

// A provider whose decoder notes that it was asked.
int times_asked = 0;

void* new_decoder(void*) {
    static int any;
    return &any;
}
void free_decoder(void*) {}
int note_question(void*, OSSL_CORE_BIO*, int, OSSL_CALLBACK*, void*, OSSL_PASSPHRASE_CALLBACK*,
                  void*) {
    ++times_asked;
    return 1;  // "not mine": the next one is asked
}

template <class Function>
void (*untyped(Function* function))() {
    return reinterpret_cast<void (*)()>(function);
}

const OSSL_ALGORITHM* decoders_of(void*, int operation, int*) {
    static const OSSL_DISPATCH functions[] = {{OSSL_FUNC_DECODER_NEWCTX, untyped(new_decoder)},
                                              {OSSL_FUNC_DECODER_FREECTX, untyped(free_decoder)},
                                              {OSSL_FUNC_DECODER_DECODE, untyped(note_question)},
                                              {0, nullptr}};
    static const OSSL_ALGORITHM decoders[] = {
        {"RSA", "provider=token,input=der,structure=PrivateKeyInfo", functions, ""},
        {"DER", "provider=token,input=pem", functions, ""},
        {nullptr, nullptr, nullptr, nullptr}};
    return operation == OSSL_OP_DECODER ? decoders : nullptr;
}

int start_provider(const OSSL_CORE_HANDLE*, const OSSL_DISPATCH*, const OSSL_DISPATCH** out,
                   void** context) {
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, untyped(decoders_of)}, {0, nullptr}};
    *out = functions;
    *context = &times_asked;
    return 1;
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

TEST_CASE("pem: how long an RSA key may be") {
    for (const int bits : {bounds::kMinRsaBits, 4096, bounds::kMaxRsaBits}) {
        CHECK(parse_key(secret(rsa_key(bits))));
        CHECK(check_peer_key(rsa_public_key(bits).get()));
    }
    for (const int bits : {512, bounds::kMinRsaBits - 1, bounds::kMaxRsaBits + 1, 24'576}) {
        check_refused(parse_key(secret(rsa_key(bits))), std::to_string(bits) + " bits");
    }
    const auto long_key = check_peer_key(rsa_public_key(bounds::kMaxRsaBits + 1).get());
    REQUIRE_FALSE(long_key);
    CHECK(long_key.error().code == EKEYREJECTED);
}

TEST_CASE("pem: a curve has a name") {
    Certificate own{nullptr, key_with_own_curve()};
    check_refused(parse_key(secret(own.key_pem())), "curve");
    CHECK(check_peer_key(world().server.key.get()));
}

TEST_CASE("pem: keys that cannot sign here") {
    check_refused(
        parse_key(secret(
            Certificate{nullptr, KeyPtr(EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519"))}.key_pem())),
        "X25519");
}

// openssl.cnf can load providers for tokens, to which any text may be the name of a key.
TEST_CASE("pem: nobody but OpenSSL itself is asked what a key means") {
    REQUIRE(OSSL_PROVIDER_add_builtin(nullptr, "token", start_provider) == 1);
    OSSL_PROVIDER* standard = OSSL_PROVIDER_load(nullptr, "default");
    OSSL_PROVIDER* token = OSSL_PROVIDER_load(nullptr, "token");
    REQUIRE(token != nullptr);
    const Certificate rsa{nullptr, KeyPtr(EVP_RSA_gen(2048))};
    CHECK(parse_key(secret(rsa.key_pem())));
    std::string broken = rsa.key_pem();
    broken.replace(broken.find("MII"), 8, "MIIAAAAA");
    CHECK_FALSE(parse_key(secret(broken)));
    CHECK_FALSE(parse_key(secret(
        "-----BEGIN TOKEN PRIVATE KEY-----\ndG9rZW46b2JqZWN0PWtleQ==\n-----END TOKEN PRIVATE "
        "KEY-----\n")));
    CHECK(times_asked == 0);
    OSSL_PROVIDER_unload(token);
    OSSL_PROVIDER_unload(standard);
}

TEST_CASE("pem: how many certificates") {
    const auto times = [](std::size_t count) {
        std::string text;
        for (std::size_t i = 0; i < count; ++i) text += world().authority.pem();
        return secret(text);
    };
    CHECK(parse_chain(times(bounds::kChain)));
    check_refused(parse_chain(times(bounds::kChain + 1)), "32");
    CHECK(parse_authorities(times(bounds::kAuthorities)));
    check_refused(parse_authorities(times(bounds::kAuthorities + 1)), "512");
    const auto lists = [](std::size_t count) {
        std::string text = world().authority.pem();
        const std::string list = make_crl(world().authority, nullptr);
        for (std::size_t i = 0; i < count; ++i) text += list;
        return secret(text);
    };
    CHECK(parse_authorities(lists(bounds::kRevocationLists)));
    check_refused(parse_authorities(lists(bounds::kRevocationLists + 1)), "512");
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
