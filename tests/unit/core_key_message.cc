// SPDX-License-Identifier: MIT
#include "core/key_message.h"

#include <doctest/doctest.h>

#include <set>

using namespace tlsfs;

namespace {

KeyRequest sign_request(SignedContent content) {
    SignOrder order{{}, SignatureScheme::ecdsa_sha256, "192.0.2.1:443", std::move(content)};
    order.leaf.fill(7);
    return {Role::server, 1000, "git", std::move(order)};
}

signed_content::KeyExchange12 exchange() {
    signed_content::KeyExchange12 made;
    made.client_random.fill(1);
    made.server_random.fill(2);
    made.parameters = Bytes(36, 3);
    return made;
}

int code_of(const Result<KeyRequest>& parsed) {
    return parsed ? 0 : parsed.error().code;
}

}  // namespace

TEST_CASE("key message: what is written is read") {
    const std::vector<KeyRequest> all{
        {Role::client, 0, "a", {}},
        {Role::server, 0xffffffff, std::string(kMaxIdentityName, 'z'), {}},
        sign_request(signed_content::Tls13{Bytes(32, 1)}),
        sign_request(signed_content::Tls13{Bytes(48, 1)}),
        sign_request(exchange()),
        sign_request(signed_content::Handshake12{Bytes(kMaxHandshakeMessages, 4)}),
    };
    for (const KeyRequest& request : all) {
        const Bytes bytes = encode(request);
        CHECK(bytes.size() <= kMaxKeyRequest);
        const auto parsed = parse_key_request(bytes);
        REQUIRE(parsed);
        CHECK(*parsed == request);
    }
}

TEST_CASE("key message: every cut and every byte more is refused, or another hash's length") {
    const Bytes bytes = encode(sign_request(exchange()));
    const std::size_t shortest = bytes.size() - 35;  // one byte of parameters
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        const auto parsed = parse_key_request(ByteView(bytes).first(size));
        CHECK(code_of(parsed) == (size < shortest ? EINVAL : 0));
    }
    Bytes find = encode({Role::client, 0, "a", {}});
    find.push_back(0);
    CHECK(code_of(parse_key_request(find)) == EINVAL);
}

TEST_CASE("key message: bounds") {
    const auto refused = [](KeyRequest request) {
        return code_of(parse_key_request(encode(request))) == EINVAL;
    };
    CHECK(refused({Role::client, 0, "", {}}));
    CHECK(refused({Role::client, 0, std::string(kMaxIdentityName + 1, 'z'), {}}));
    CHECK(refused({Role::client, 0, "../x", {}}));
    CHECK(refused({Role::client, 0, ".x", {}}));
    CHECK(refused({Role::client, 0, "a/b", {}}));
    CHECK(refused(sign_request(signed_content::Tls13{Bytes(33, 1)})));
    CHECK(refused(sign_request(signed_content::Handshake12{Bytes(kMaxHandshakeMessages + 1, 1)})));
    auto long_exchange = exchange();
    long_exchange.parameters = Bytes(kMaxKeyExchange + 1, 1);
    CHECK(refused(sign_request(long_exchange)));
    auto unknown = sign_request(exchange());
    unknown.sign->scheme = static_cast<SignatureScheme>(0x0201);  // SHA-1
    CHECK(refused(unknown));
    Bytes other = encode({Role::client, 0, "a", {}});
    for (const auto& [place, value] : std::vector<std::pair<std::size_t, std::uint8_t>>{
             {0, 0}, {0, 2}, {1, 0}, {1, 5}, {2, 2}, {7, 0}, {7, 9}}) {
        Bytes changed = other;
        changed[place] = value;
        CHECK(code_of(parse_key_request(changed)) == EINVAL);
    }
}

TEST_CASE("key message: answers") {
    const FoundIdentity found{true, {Bytes(700, 1), Bytes(3, 2)}};
    CHECK(*parse_found(encode(found)) == found);
    CHECK(*parse_signature(encode_signature(Bytes(70, 9))) == Bytes(70, 9));

    const Bytes refusal = encode(Error{ENOENT, "not there"});
    CHECK(parse_found(refusal).error().code == ENOENT);
    CHECK(parse_signature(refusal).error().text == "not there");
    CHECK(parse_signature(encode(Error{EIO, std::string(999, 'x')})).error().text.size() == 200);

    const auto no_answer = [](const Bytes& bytes) {
        return parse_found(bytes).error().code == EPROTO;
    };
    CHECK(no_answer({}));
    CHECK(no_answer({0, 0, 0}));
    CHECK(no_answer({0, 0, 0, 0}));
    CHECK(no_answer({0, 0, 0, 0, 0}));              // no certificate
    CHECK(no_answer({0, 0, 0, 0, 2, 0, 0, 1, 5}));  // unknown flags
    CHECK(no_answer({0, 0, 0, 0, 0, 0, 0, 0}));     // an empty certificate
    CHECK(no_answer({0, 0, 0, 0, 0, 0, 0, 2, 5}));  // one that is cut
    CHECK(no_answer({0xff, 0xff, 0xff, 0xff}));     // no errno
    CHECK(no_answer(encode(FoundIdentity{false, std::vector<Bytes>(17, Bytes(1, 1))})));
    CHECK(parse_signature({}).error().code == EPROTO);
    CHECK(parse_signature(encode_signature({})).error().code == EPROTO);
    CHECK(parse_signature(encode_signature(Bytes(kMaxSignature + 1, 1))).error().code == EPROTO);
}

TEST_CASE("key message: schemes are found by number and by what they are") {
    std::set<std::string_view> names;
    for (unsigned number = 0; number <= 0xffff; ++number) {
        const auto* facts = scheme_facts(static_cast<SignatureScheme>(number));
        if (facts == nullptr) continue;
        names.insert(facts->name);
        CHECK(find_scheme(facts->kind, facts->hash == nullptr ? "" : facts->hash) == facts);
    }
    CHECK(names.size() == 11);
    CHECK(find_scheme(SchemeKind::ecdsa, "SHA1") == nullptr);
    CHECK(find_scheme(SchemeKind::ecdsa, "") == nullptr);
}
