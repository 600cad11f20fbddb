// SPDX-License-Identifier: MIT
#include "core/signed_content.h"

#include <algorithm>
#include <string_view>

namespace tlsfs {
namespace {

using signed_content::Handshake12;
using signed_content::KeyExchange12;
using signed_content::Tls13;

constexpr std::size_t kBlanks = 64;
constexpr std::size_t kRandom = 32;

std::string_view context_text(Role role) {
    return role == Role::server ? "TLS 1.3, server CertificateVerify"
                                : "TLS 1.3, client CertificateVerify";
}

bool is_hash_size(std::size_t size) {
    return size == 32 || size == 48;
}

// All that goes before the hash, the zero byte too.
Bytes context(Role role) {
    const std::string_view text = context_text(role);
    Bytes bytes(kBlanks + text.size() + 1, ' ');
    std::ranges::copy(text, bytes.begin() + kBlanks);
    bytes.back() = 0;
    return bytes;
}

std::optional<SignedContent> take_tls13(Role role, ByteView content) {
    const Bytes before = context(role);
    if (content.size() < before.size()) return std::nullopt;
    if (!std::ranges::equal(content.first(before.size()), before)) return std::nullopt;
    const ByteView hash = content.subspan(before.size());
    if (!is_hash_size(hash.size())) return std::nullopt;
    return Tls13{{hash.begin(), hash.end()}};
}

tl::unexpected<Error> no_handshake(const char* why) {
    return failure(EINVAL, std::string("what is to be signed is no TLS handshake: ") + why);
}

// The groups that OpenSSL has for TLS 1.2, and the size of a public value in each (RFC 8422 section
// 5.4: a point is not compressed).
struct Curve {
    std::uint16_t group;
    std::size_t point;
    bool uncompressed;  // such a point begins with 4
};
constexpr std::array kCurves{
    Curve{0x0017, 65, true},   // secp256r1
    Curve{0x0018, 97, true},   // secp384r1
    Curve{0x0019, 133, true},  // secp521r1
    Curve{0x001a, 65, true},   // brainpoolP256r1
    Curve{0x001b, 97, true},   // brainpoolP384r1
    Curve{0x001c, 129, true},  // brainpoolP512r1
    Curve{0x001d, 32, false},  // x25519
    Curve{0x001e, 56, false},  // x448
};

bool is_curve_exchange(ByteView parameters) {
    constexpr std::uint32_t kNamedCurve = 3;
    ByteReader reader(parameters);
    if (reader.number(1) != kNamedCurve) return false;
    const auto group = reader.number(2);
    const auto point = reader.counted(1);
    if (!group || !point || !reader.empty()) return false;
    const auto curve = std::ranges::find(kCurves, *group, &Curve::group);
    return curve != kCurves.end() && point->size() == curve->point &&
           (!curve->uncompressed || point->front() == 4);
}

bool is_finite_field_exchange(ByteView parameters, KnownPrimes primes) {
    ByteReader reader(parameters);
    const auto prime = reader.counted(2);
    const auto generator = reader.counted(2);
    const auto value = reader.counted(2);
    if (!prime || !generator || !value || !reader.empty()) return false;
    const auto is_it = [&](const Bytes& known) { return std::ranges::equal(known, *prime); };
    return std::ranges::any_of(primes, is_it) && generator->size() == 1 &&
           generator->front() == 2 && !value->empty() && value->size() <= prime->size();
}

namespace message {
constexpr std::uint32_t kClientHello = 1, kServerHello = 2, kCertificate = 11,
                        kServerKeyExchange = 12, kCertificateRequest = 13, kServerHelloDone = 14,
                        kClientKeyExchange = 16, kCertificateStatus = 22;
}  // namespace message

// RFC 5246 section 7.3, up to where a client that was asked for a certificate signs.
struct ExpectedMessage {
    std::uint32_t type;
    bool optional;
};
constexpr std::array kOrder{
    ExpectedMessage{message::kClientHello, false},
    ExpectedMessage{message::kServerHello, false},
    ExpectedMessage{message::kCertificate, false},
    ExpectedMessage{message::kCertificateStatus, true},
    ExpectedMessage{message::kServerKeyExchange, true},
    ExpectedMessage{message::kCertificateRequest, false},
    ExpectedMessage{message::kServerHelloDone, false},
    ExpectedMessage{message::kCertificate, false},
    ExpectedMessage{message::kClientKeyExchange, false},
};

// A version, a random and a session id: hellos of both sides begin so.
bool begins_as_hello(ByteView body) {
    ByteReader reader(body);
    const auto version = reader.number(2);
    const auto random = reader.take(kRandom);
    const auto session = reader.counted(1);
    return version && *version == 0x0303 && random && session && session->size() <= 32;
}

bool begins_with(ByteView certificates, ByteView leaf) {
    ByteReader reader(certificates);
    const auto list = reader.counted(3);
    if (!list || !reader.empty()) return false;
    const auto first = ByteReader(*list).counted(3);
    return first && std::ranges::equal(*first, leaf);
}

struct Message {
    std::uint32_t type;
    ByteView body;
};

std::optional<Message> take_message(ByteReader& reader) {
    const auto type = reader.number(1);
    const auto body = reader.counted(3);
    if (!type || !body) return std::nullopt;
    return Message{*type, *body};
}

// Nothing where they do not come out even, or are more than any handshake has.
std::optional<std::vector<Message>> take_messages(ByteReader reader) {
    std::vector<Message> messages;
    while (!reader.empty()) {
        const auto message = take_message(reader);
        if (!message || messages.size() == kOrder.size()) return std::nullopt;
        messages.push_back(*message);
    }
    return messages;
}

bool is_clients_handshake(ByteView bytes, ByteView leaf) {
    const auto messages = take_messages(ByteReader(bytes));
    if (!messages) return false;
    auto next = messages->begin();
    ByteView last_certificates;
    for (const ExpectedMessage& expected : kOrder) {
        if (next == messages->end() || next->type != expected.type) {
            if (!expected.optional) return false;
            continue;
        }
        const bool hello =
            next->type == message::kClientHello || next->type == message::kServerHello;
        if (hello && !begins_as_hello(next->body)) return false;
        if (next->type == message::kServerHelloDone && !next->body.empty()) return false;
        if (next->type == message::kCertificate) last_certificates = next->body;
        ++next;
    }
    return next == messages->end() && begins_with(last_certificates, leaf);
}

struct Builder {
    Role role;
    ByteView leaf;
    KnownPrimes primes;

    Result<Bytes> operator()(const Tls13& content) const {
        if (!is_hash_size(content.hash.size())) return no_handshake("a hash of another size");
        Bytes built = context(role);
        append_bytes(built, content.hash);
        return built;
    }
    Result<Bytes> operator()(const KeyExchange12& content) const {
        if (role != Role::server) return no_handshake("a client does not sign a key exchange");
        if (!is_curve_exchange(content.parameters) &&
            !is_finite_field_exchange(content.parameters, primes)) {
            return no_handshake("the parameters of the key exchange");
        }
        Bytes built;
        append_bytes(built, content.client_random);
        append_bytes(built, content.server_random);
        append_bytes(built, content.parameters);
        return built;
    }
    Result<Bytes> operator()(const Handshake12& content) const {
        if (role != Role::client) return no_handshake("a server does not sign its messages");
        if (!is_clients_handshake(content.messages, leaf)) {
            return no_handshake("its messages are not a client's with this certificate");
        }
        return content.messages;
    }
};

}  // namespace

std::optional<SignedContent> take_apart(Role role, ByteView content) {
    if (auto tls13 = take_tls13(role, content)) return tls13;
    if (role == Role::client) {
        if (content.size() > kMaxHandshakeMessages) return std::nullopt;
        return Handshake12{{content.begin(), content.end()}};
    }
    ByteReader reader(content);
    const auto client = reader.take(kRandom);
    const auto server = reader.take(kRandom);
    if (!client || !server || reader.rest().size() > kMaxKeyExchange) return std::nullopt;
    KeyExchange12 exchange;
    std::ranges::copy(*client, exchange.client_random.begin());
    std::ranges::copy(*server, exchange.server_random.begin());
    append_bytes(exchange.parameters, reader.rest());
    return exchange;
}

Result<Bytes> put_together(Role role, const SignedContent& content, ByteView leaf,
                           KnownPrimes primes) {
    return std::visit(Builder{role, leaf, primes}, content);
}

}  // namespace tlsfs
