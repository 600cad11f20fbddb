// SPDX-License-Identifier: MIT
// Messages to tlskeyd, and what they want signed: no bytes break them, what is taken is within its
// bounds and is written as it was read, and what would be signed is a handshake's.
#include <algorithm>
#include <string_view>

#include "core/key_message.h"
#include "require.h"

using namespace tlsfs;

namespace {

const Bytes kLeaf(40, 5);
const std::vector<Bytes> kPrimes{Bytes(16, 0xfe)};

bool begins_with(ByteView bytes, std::string_view text) {
    return bytes.size() >= text.size() && std::equal(text.begin(), text.end(), bytes.begin());
}

void check_content(Role role, const SignedContent& content) {
    const auto built = put_together(role, content, kLeaf, kPrimes);
    if (!built) {
        REQUIRE(built.error().code == EINVAL);
        return;
    }
    const auto taken = take_apart(role, *built);
    REQUIRE(taken && *taken == content);
    if (std::holds_alternative<signed_content::Tls13>(content)) {
        const std::string text = std::string(64, ' ') + "TLS 1.3, " +
                                 (role == Role::server ? "server" : "client") +
                                 " CertificateVerify";
        REQUIRE(begins_with(*built, text));
    } else if (role == Role::client) {
        REQUIRE(begins_with(*built, std::string_view("\x01", 1)));
        REQUIRE(std::search(built->begin(), built->end(), kLeaf.begin(), kLeaf.end()) !=
                built->end());
    } else {
        REQUIRE(built->size() > 64 && built->size() <= 64 + kMaxKeyExchange);
    }
}

void check_request(const KeyRequest& request, ByteView bytes) {
    REQUIRE(is_identity_name(request.identity));
    REQUIRE(std::ranges::equal(encode(request), bytes));
    if (!request.sign) return;
    REQUIRE(scheme_facts(request.sign->scheme) != nullptr);
    REQUIRE(request.sign->peer.size() <= kMaxPeerText);
    check_content(request.role, request.sign->content);
}

void check_answer(ByteView bytes) {
    if (const auto found = parse_found(bytes)) {
        REQUIRE(!found->chain.empty() && found->chain.size() <= kMaxChainLength);
        REQUIRE(std::ranges::equal(encode(*found), bytes));
    }
    if (const auto signature = parse_signature(bytes)) {
        REQUIRE(!signature->empty() && signature->size() <= kMaxSignature);
        REQUIRE(std::ranges::equal(encode_signature(*signature), bytes));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteView bytes(data, size);
    if (const auto request = parse_key_request(bytes)) check_request(*request, bytes);
    check_answer(bytes);
    for (const Role role : {Role::client, Role::server}) {
        if (const auto content = take_apart(role, bytes)) check_content(role, *content);
    }
    return 0;
}
