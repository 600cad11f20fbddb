// SPDX-License-Identifier: MIT
#include "proxy_header.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "byte_at.h"
#include "number.h"

namespace tlsfs::cmd {
namespace {

using Tags = std::map<std::string, std::string>;
using namespace std::string_view_literals;

constexpr std::string_view kSignature = "\r\n\r\n\0\r\nQUIT\n"sv;
constexpr std::size_t kVersionAt = 12;
constexpr std::size_t kFamilyAt = 13;
constexpr std::size_t kSizeAt = 14;

constexpr std::size_t kMaxCommonName = 256;  // X.520 allows 64

enum : std::uint8_t { kLocal = 0x20, kProxy = 0x21 };  // version and command
enum : std::uint8_t { kUnspecified = 0x00, kTcp4 = 0x11, kTcp6 = 0x21, kUnixStream = 0x31 };
enum : std::uint8_t { kAlpn = 0x01, kAuthority = 0x02, kSsl = 0x20 };
enum : std::uint8_t { kSslVersion = 0x21, kSslCommonName = 0x22, kSslCipher = 0x23 };
enum : std::uint8_t { kClientSsl = 0x01, kCertificateNow = 0x02, kCertificateInSession = 0x04 };

// How a family's two addresses stand in a header.
struct Layout {
    std::uint8_t family;
    std::size_t size;
};
constexpr std::array kLayouts{
    Layout{kUnspecified, 0},
    Layout{kTcp4, 2 * (sizeof(in_addr) + sizeof(in_port_t))},
    Layout{kTcp6, 2 * (sizeof(in6_addr) + sizeof(in_port_t))},
    Layout{kUnixStream, 2 * sizeof(sockaddr_un::sun_path)},
};

std::string tag(const Tags& tags, const char* name) {
    const auto found = tags.find(name);
    return found == tags.end() ? std::string() : found->second;
}

template <class Value>
void append(std::string& bytes, const Value& value) {
    std::array<char, sizeof(value)> raw{};
    std::memcpy(raw.data(), &value, sizeof(value));
    bytes.append(raw.data(), raw.size());
}

template <class Value>
Value take(std::string_view& bytes) {
    Value value{};
    std::memcpy(&value, bytes.data(), sizeof(value));
    bytes.remove_prefix(sizeof(value));
    return value;
}

void append_size(std::string& bytes, std::size_t size) {
    append(bytes, htons(static_cast<std::uint16_t>(size)));
}

// What is not known is left out.
void append_record(std::string& bytes, std::uint8_t type, std::string_view value) {
    if (value.empty()) return;
    append(bytes, type);
    append_size(bytes, value.size());
    bytes += value;
}

template <class Plain>
Plain as(const SocketAddress& address) {
    Plain plain{};
    std::memcpy(&plain, &address.storage, sizeof(plain));
    return plain;
}

// Where the parts of an address of the Internet stand.
template <class Plain, class Ip>
struct Internet {
    sa_family_t family;
    sa_family_t Plain::* family_at;
    Ip Plain::* ip;
    in_port_t Plain::* port;
};
constexpr Internet<sockaddr_in, in_addr> kInternet4{AF_INET, &sockaddr_in::sin_family,
                                                    &sockaddr_in::sin_addr, &sockaddr_in::sin_port};
constexpr Internet<sockaddr_in6, in6_addr> kInternet6{
    AF_INET6, &sockaddr_in6::sin6_family, &sockaddr_in6::sin6_addr, &sockaddr_in6::sin6_port};

template <class Plain, class Ip>
std::string tcp_addresses(const Endpoints& endpoints, const Internet<Plain, Ip>& at) {
    const auto source = as<Plain>(endpoints.source);
    const auto destination = as<Plain>(endpoints.destination);
    std::string bytes;
    append(bytes, source.*at.ip);
    append(bytes, destination.*at.ip);
    append(bytes, source.*at.port);
    append(bytes, destination.*at.port);
    return bytes;
}

template <class Plain, class Ip>
Endpoints parse_tcp(std::string_view bytes, const Internet<Plain, Ip>& at) {
    Plain source{};
    Plain destination{};
    source.*at.family_at = destination.*at.family_at = at.family;
    source.*at.ip = take<Ip>(bytes);
    destination.*at.ip = take<Ip>(bytes);
    source.*at.port = take<in_port_t>(bytes);
    destination.*at.port = take<in_port_t>(bytes);
    return {{&source, sizeof(source)}, {&destination, sizeof(destination)}};
}

// The peer of a Unix socket has no name, as a rule.
std::string unix_addresses(const Endpoints& endpoints) {
    std::string bytes;
    append(bytes, as<sockaddr_un>(endpoints.source).sun_path);
    append(bytes, as<sockaddr_un>(endpoints.destination).sun_path);
    return bytes;
}

struct AddressBlock {
    std::uint8_t family;
    std::string bytes;
};

AddressBlock address_block(Endpoints endpoints) {
    endpoints = {without_mapping(endpoints.source), without_mapping(endpoints.destination)};
    const sa_family_t family = endpoints.source.family();
    if (family != endpoints.destination.family()) return {kUnspecified, {}};
    switch (family) {
        case AF_INET:
            return {kTcp4, tcp_addresses(endpoints, kInternet4)};
        case AF_INET6:
            return {kTcp6, tcp_addresses(endpoints, kInternet6)};
        case AF_UNIX:
            return {kUnixStream, unix_addresses(endpoints)};
        default:
            return {kUnspecified, {}};
    }
}

std::string ssl_record(const Tags& tags) {
    const std::string subject = tag(tags, "Peer");
    const bool has_certificate = tags.contains("PeerSHA256");
    std::uint8_t client = kClientSsl;
    if (has_certificate) client |= kCertificateInSession;
    if (has_certificate && tag(tags, "Resumed") != "yes") client |= kCertificateNow;
    const std::string verify = tag(tags, "Verify");
    const bool verified = has_certificate && (verify == "ok" || verify == "pin");

    std::string bytes;
    append(bytes, client);
    append(bytes, htonl(verified ? 0 : 1));
    append_record(bytes, kSslVersion, tag(tags, "Version"));
    append_record(bytes, kSslCommonName, verified ? common_name(subject) : "");
    append_record(bytes, kSslCipher, tag(tags, "Cipher"));
    return bytes;
}

// Do the records fill the rest exactly?
bool are_records(std::string_view bytes) {
    constexpr std::size_t kHead = 3;
    while (bytes.size() >= kHead) {
        bytes.remove_prefix(1);
        const std::size_t size = ntohs(take<std::uint16_t>(bytes));
        if (size > bytes.size()) return false;
        bytes.remove_prefix(size);
    }
    return bytes.empty();
}

tl::unexpected<Error> malformed(const char* what) {
    return failure(EPROTO, std::string("PROXY header: ") + what);
}

// One name of an RFC 2253 subject, without its escapes, and removed from `subject`.
struct Name {
    std::string type, value;
    bool plain = true;  // not the hexadecimal form of a value that is no text
};

// What stands behind a backslash: two hexadecimal digits, or the character itself.
char take_escaped(std::string_view& subject) {
    constexpr std::size_t kDigits = 2;
    const auto digits = subject.substr(0, kDigits);
    const auto code = parse_number<std::uint8_t>(digits, 16);
    const bool is_code = code && digits.size() == kDigits;
    const char c = is_code ? static_cast<char>(*code) : subject.front();
    subject.remove_prefix(is_code ? kDigits : 1);
    return c;
}

Name take_name(std::string_view& subject) {
    Name name;
    std::string* part = &name.type;
    while (!subject.empty()) {
        const char c = subject.front();
        subject.remove_prefix(1);
        if (c == ',' || c == '+') break;
        if (c == '=' && part == &name.type) {
            part = &name.value;
            name.plain = !subject.starts_with('#');
        } else if (c == '\\') {
            if (subject.empty()) break;
            *part += take_escaped(subject);
        } else {
            *part += c;
        }
    }
    return name;
}

}  // namespace

std::string common_name(std::string_view subject) {
    while (!subject.empty()) {
        const Name name = take_name(subject);
        if (name.type != "CN") continue;
        const bool clear = name.plain && name.value.size() <= kMaxCommonName &&
                           name.value.find('\0') == std::string::npos;
        return clear ? name.value : "";
    }
    return {};
}

std::string proxy_header(const Endpoints& endpoints, const Tags& tags) {
    const AddressBlock addresses = address_block(endpoints);
    std::string rest = addresses.bytes;
    append_record(rest, kAlpn, tag(tags, "ALPN"));
    append_record(rest, kAuthority, tag(tags, "Name"));
    append_record(rest, kSsl, ssl_record(tags));

    std::string header(kSignature);
    append(header, static_cast<std::uint8_t>(kProxy));
    append(header, addresses.family);
    append_size(header, rest.size());
    return header + rest;
}

Result<std::size_t> proxy_rest_size(std::string_view start) {
    if (start.size() < kProxyStart || !start.starts_with(kSignature)) {
        return malformed("there is none of version 2");
    }
    const std::uint8_t version = byte_at(start, kVersionAt);
    if (version != kLocal && version != kProxy) return malformed("unknown version or command");
    std::string_view size_bytes = start.substr(kSizeAt);
    const std::size_t size = ntohs(take<std::uint16_t>(size_bytes));
    if (size > kMaxProxyRest) return malformed("too long");
    return size;
}

Result<std::optional<Endpoints>> parse_proxy_header(std::string_view start, std::string_view rest) {
    const auto size = proxy_rest_size(start);
    if (!size) return tl::unexpected(size.error());
    if (rest.size() != *size) return malformed("cut short");
    // Of the connection's own addresses: what stands there is to be skipped, whatever it is.
    if (byte_at(start, kVersionAt) == kLocal) return std::nullopt;
    const std::uint8_t family = byte_at(start, kFamilyAt);
    const auto layout = std::ranges::find(kLayouts, family, &Layout::family);
    if (layout == kLayouts.end()) return malformed("not of a stream");
    if (rest.size() < layout->size) return malformed("too short for its addresses");
    if (!are_records(rest.substr(layout->size))) return malformed("records of the wrong size");
    if (family == kTcp4) return parse_tcp(rest, kInternet4);
    if (family == kTcp6) return parse_tcp(rest, kInternet6);
    return std::nullopt;
}

}  // namespace tlsfs::cmd
