// SPDX-License-Identifier: MIT
#include "core/key_message.h"

#include <algorithm>
#include <array>

#include "core/status.h"

namespace tlsfs {
namespace {

using Scheme = SignatureScheme;

constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kMaxReason = 200;

enum class Tag : std::uint8_t { find = 1, tls13 = 2, key_exchange12 = 3, handshake12 = 4 };

constexpr std::array kSchemes{
    SchemeFacts{Scheme::rsa_pkcs1_sha256, SchemeKind::rsa_pkcs1, "SHA256", "rsa_pkcs1_sha256"},
    SchemeFacts{Scheme::rsa_pkcs1_sha384, SchemeKind::rsa_pkcs1, "SHA384", "rsa_pkcs1_sha384"},
    SchemeFacts{Scheme::rsa_pkcs1_sha512, SchemeKind::rsa_pkcs1, "SHA512", "rsa_pkcs1_sha512"},
    SchemeFacts{Scheme::ecdsa_sha256, SchemeKind::ecdsa, "SHA256", "ecdsa_sha256"},
    SchemeFacts{Scheme::ecdsa_sha384, SchemeKind::ecdsa, "SHA384", "ecdsa_sha384"},
    SchemeFacts{Scheme::ecdsa_sha512, SchemeKind::ecdsa, "SHA512", "ecdsa_sha512"},
    SchemeFacts{Scheme::rsa_pss_sha256, SchemeKind::rsa_pss, "SHA256", "rsa_pss_sha256"},
    SchemeFacts{Scheme::rsa_pss_sha384, SchemeKind::rsa_pss, "SHA384", "rsa_pss_sha384"},
    SchemeFacts{Scheme::rsa_pss_sha512, SchemeKind::rsa_pss, "SHA512", "rsa_pss_sha512"},
    SchemeFacts{Scheme::ed25519, SchemeKind::ed25519, nullptr, "ed25519"},
    SchemeFacts{Scheme::ed448, SchemeKind::ed448, nullptr, "ed448"},
};

ByteView view(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string text_of(ByteView bytes) {
    return {bytes.begin(), bytes.end()};
}

tl::unexpected<Error> no_message() {
    return failure(EINVAL, "no message that tlskeyd knows");
}

tl::unexpected<Error> no_answer() {
    return failure(EPROTO, "tlskeyd gave no answer that is known");
}

struct ContentWriter {
    Bytes& to;
    void operator()(const signed_content::Tls13& content) const { append_bytes(to, content.hash); }
    void operator()(const signed_content::KeyExchange12& content) const {
        append_bytes(to, content.client_random);
        append_bytes(to, content.server_random);
        append_bytes(to, content.parameters);
    }
    void operator()(const signed_content::Handshake12& content) const {
        append_bytes(to, content.messages);
    }
};

Tag tag_of(const KeyRequest& request) {
    if (!request.sign) return Tag::find;
    // In the order of the variant.
    return static_cast<Tag>(static_cast<std::size_t>(Tag::tls13) + request.sign->content.index());
}

std::optional<SignedContent> read_content(Tag tag, ByteReader& reader) {
    const auto all = [&] { return *reader.take(reader.rest().size()); };
    if (tag == Tag::tls13) {
        const ByteView hash = all();
        if (hash.size() != 32 && hash.size() != 48) return std::nullopt;
        return signed_content::Tls13{{hash.begin(), hash.end()}};
    }
    if (tag == Tag::handshake12) {
        const ByteView messages = all();
        if (messages.empty() || messages.size() > kMaxHandshakeMessages) return std::nullopt;
        return signed_content::Handshake12{{messages.begin(), messages.end()}};
    }
    signed_content::KeyExchange12 exchange;
    for (auto* random : {&exchange.client_random, &exchange.server_random}) {
        const auto bytes = reader.take(random->size());
        if (!bytes) return std::nullopt;
        std::ranges::copy(*bytes, random->begin());
    }
    const ByteView parameters = all();
    if (parameters.empty() || parameters.size() > kMaxKeyExchange) return std::nullopt;
    append_bytes(exchange.parameters, parameters);
    return exchange;
}

std::optional<SignOrder> read_order(Tag tag, ByteReader& reader) {
    SignOrder order;
    const auto leaf = reader.take(order.leaf.size());
    const auto scheme = reader.number(2);
    const auto peer = reader.counted(1);
    if (!leaf || !scheme || !peer) return std::nullopt;
    std::ranges::copy(*leaf, order.leaf.begin());
    order.scheme = static_cast<Scheme>(*scheme);
    if (scheme_facts(order.scheme) == nullptr) return std::nullopt;
    order.peer = text_of(*peer);
    auto content = read_content(tag, reader);
    if (!content) return std::nullopt;
    order.content = std::move(*content);
    return order;
}

// Behind the zero of an answer that is no error.
Result<ByteReader> open_answer(ByteView answer) {
    ByteReader reader(answer);
    const auto code = reader.number(4);
    if (!code || answer.size() > kMaxKeyAnswer) return no_answer();
    if (*code == 0) return reader;
    const ByteView reason = reader.rest();
    constexpr std::uint32_t kHighest = 4095;  // MAX_ERRNO of the kernel
    if (*code > kHighest || reason.size() > kMaxReason) return no_answer();
    return failure(static_cast<int>(*code), printable(text_of(reason)));
}

}  // namespace

bool is_identity_name(std::string_view name) {
    const auto alphanumeric = [](char c) {
        return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    };
    const auto plain = [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; };
    return !name.empty() && name.size() <= kMaxIdentityName && alphanumeric(name.front()) &&
           std::ranges::all_of(name, plain);
}

const SchemeFacts* scheme_facts(SignatureScheme scheme) {
    const auto* const found = std::ranges::find(kSchemes, scheme, &SchemeFacts::scheme);
    return found == kSchemes.end() ? nullptr : found;
}

const SchemeFacts* find_scheme(SchemeKind kind, std::string_view hash) {
    const auto fits = [&](const SchemeFacts& facts) {
        return facts.kind == kind && (facts.hash == nullptr || facts.hash == hash);
    };
    const auto* const found = std::ranges::find_if(kSchemes, fits);
    return found == kSchemes.end() ? nullptr : found;
}

Bytes encode(const KeyRequest& request) {
    Bytes bytes;
    append_number(bytes, kVersion, 1);
    append_number(bytes, static_cast<std::uint32_t>(tag_of(request)), 1);
    append_number(bytes, static_cast<std::uint32_t>(request.role), 1);
    append_number(bytes, request.owner, 4);
    append_counted(bytes, view(request.identity), 1);
    if (!request.sign) return bytes;
    append_bytes(bytes, request.sign->leaf);
    append_number(bytes, static_cast<std::uint32_t>(request.sign->scheme), 2);
    append_counted(bytes, view(request.sign->peer), 1);
    std::visit(ContentWriter{bytes}, request.sign->content);
    return bytes;
}

Result<KeyRequest> parse_key_request(ByteView bytes) {
    if (bytes.size() > kMaxKeyRequest) return no_message();
    ByteReader reader(bytes);
    const auto version = reader.number(1);
    const auto tag = reader.number(1);
    const auto role = reader.number(1);
    const auto owner = reader.number(4);
    const auto name = reader.counted(1);
    if (!version || !tag || !role || !owner || !name || *version != kVersion) return no_message();
    if (*tag < static_cast<unsigned>(Tag::find) || *tag > static_cast<unsigned>(Tag::handshake12)) {
        return no_message();
    }
    if (*role > static_cast<unsigned>(Role::server)) return no_message();
    KeyRequest request{static_cast<Role>(*role), *owner, text_of(*name), {}};
    if (!is_identity_name(request.identity)) return no_message();
    if (static_cast<Tag>(*tag) != Tag::find) {
        request.sign = read_order(static_cast<Tag>(*tag), reader);
        if (!request.sign) return no_message();
    }
    if (!reader.empty()) return no_message();
    return request;
}

Bytes encode(const FoundIdentity& found) {
    Bytes bytes;
    append_number(bytes, 0, 4);
    append_number(bytes, found.slow ? 1 : 0, 1);
    for (const Bytes& certificate : found.chain) append_counted(bytes, certificate, 3);
    return bytes;
}

Bytes encode_signature(ByteView signature) {
    Bytes bytes;
    append_number(bytes, 0, 4);
    append_bytes(bytes, signature);
    return bytes;
}

Bytes encode(const Error& error) {
    Bytes bytes;
    append_number(bytes, static_cast<std::uint32_t>(error.code), 4);
    append_bytes(bytes, view(std::string_view(error.text).substr(0, kMaxReason)));
    return bytes;
}

Result<FoundIdentity> parse_found(ByteView answer) {
    auto reader = open_answer(answer);
    if (!reader) return tl::unexpected(reader.error());
    const auto flags = reader->number(1);
    if (!flags || *flags > 1) return no_answer();
    FoundIdentity found;
    found.slow = *flags == 1;
    while (!reader->empty()) {
        const auto certificate = reader->counted(3);
        if (!certificate || certificate->empty() || found.chain.size() == kMaxChainLength) {
            return no_answer();
        }
        found.chain.emplace_back(certificate->begin(), certificate->end());
    }
    if (found.chain.empty()) return no_answer();
    return found;
}

Result<Bytes> parse_signature(ByteView answer) {
    auto reader = open_answer(answer);
    if (!reader) return tl::unexpected(reader.error());
    const ByteView signature = reader->rest();
    if (signature.empty() || signature.size() > kMaxSignature) return no_answer();
    return Bytes(signature.begin(), signature.end());
}

}  // namespace tlsfs
