// SPDX-License-Identifier: MIT
#include "starttls_frames.h"

#include <cerrno>

#include "byte_at.h"

namespace tlsfs::cmd {
namespace {

// BER (X.690) as LDAP uses it (RFC 4511, section 5.1).
enum : unsigned char {
    kInteger = 0x02,
    kEnumerated = 0x0a,
    kSequence = 0x30,
    kExtendedRequest = 0x77,
    kExtendedResponse = 0x78,
    kRequestName = 0x80,
};
constexpr std::size_t kMaxId = 4;  // messageID: up to 2^31 - 1

tl::unexpected<Error> bad_frame(const char* what) {
    return failure(EPROTO, what);
}

struct Head {
    unsigned char type;
    std::size_t head, size;  // bytes of type and length; of the value
};

// Nothing if it is not complete.
Result<std::optional<Head>> read_head(std::string_view bytes) {
    constexpr unsigned char kLong = 0x80;
    constexpr std::size_t kMostOfLength = 4;
    if (bytes.size() < 2) return std::nullopt;
    Head head{byte_at(bytes, 0), 2, byte_at(bytes, 1)};
    if (head.size < kLong) return head;
    const std::size_t count = head.size - kLong;
    if (count == 0 || count > kMostOfLength) return bad_frame("a length that is none");
    if (bytes.size() < 2 + count) return std::nullopt;
    head.size = 0;
    for (std::size_t i = 0; i < count; ++i) head.size = head.size << 8 | byte_at(bytes, 2 + i);
    head.head += count;
    return head;
}

// The value of an element of this type, which is then removed from `bytes`.
std::optional<std::string_view> take_element(std::string_view& bytes, unsigned char type) {
    const auto head = read_head(bytes);
    if (!head || !*head) return std::nullopt;
    const auto [found, start, size] = **head;
    if (found != type || size > bytes.size() - start) return std::nullopt;
    const std::string_view value = bytes.substr(start, size);
    bytes.remove_prefix(start + size);
    return value;
}

std::optional<std::string> operation_text(std::string_view message) {
    std::string_view rest = message;
    if (auto request = take_element(rest, kExtendedRequest)) {
        const auto name = take_element(*request, kRequestName);
        return name ? std::optional(std::string(*name)) : std::nullopt;
    }
    auto response = take_element(rest, kExtendedResponse);
    if (!response) return "another operation";
    const auto result = take_element(*response, kEnumerated);
    if (!result || result->size() != 1) return std::nullopt;
    const unsigned char code = byte_at(*result, 0);
    return code == 0 ? "success" : "result " + std::to_string(code);
}

Result<std::optional<Frame>> take_ldap(std::string_view& bytes, std::size_t most) {
    const auto head = read_head(bytes);
    if (!head) return tl::unexpected(head.error());
    if (!*head) return std::nullopt;
    const auto [type, start, size] = **head;
    if (type != kSequence) return bad_frame("no LDAP message");
    if (size > most) return bad_frame("a message that is too long");
    if (bytes.size() < start + size) return std::nullopt;
    std::string_view message = bytes.substr(start, size);
    bytes.remove_prefix(start + size);
    const auto id = take_element(message, kInteger);
    if (!id || id->empty() || id->size() > kMaxId) return bad_frame("no LDAP message");
    const auto text = operation_text(message);
    if (!text) return bad_frame("no LDAP message");
    return Frame{std::string(*id), *text};
}

Result<std::optional<Frame>> take_line(std::string_view& bytes, std::size_t most) {
    const auto end = bytes.find('\n');
    if (end > most && bytes.size() > most) return bad_frame("a line that is too long");
    if (end == std::string_view::npos) return std::nullopt;
    std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return Frame{{}, std::string(line)};
}

Result<std::optional<Frame>> take_tagged(std::string_view& bytes, std::size_t most) {
    auto frame = take_line(bytes, most);
    if (!frame || !*frame) return frame;
    const std::string line = std::move((*frame)->text);
    const auto space = line.find(' ');
    if (space == std::string::npos || space == 0) return bad_frame("a command without a tag");
    return Frame{line.substr(0, space), line.substr(space + 1)};
}

std::optional<Frame> take_bytes(std::string_view& bytes, std::size_t count) {
    if (bytes.size() < count) return std::nullopt;
    Frame frame{{}, std::string(bytes.substr(0, count))};
    bytes.remove_prefix(count);
    return frame;
}

std::string with_tag(std::string_view text, std::string_view tag) {
    std::string line;
    for (const char c : text) c == '%' ? line.append(tag) : line.append(1, c);
    return line;
}

// Short enough for lengths of one byte.
std::string ldap_message(std::string_view id, std::string_view operation) {
    std::string message{static_cast<char>(kInteger), static_cast<char>(id.size())};
    message.append(id).append(operation);
    const std::string head{static_cast<char>(kSequence), static_cast<char>(message.size())};
    return head + message;
}

}  // namespace

Result<std::optional<Frame>> take_frame(Framing framing, std::string_view& bytes,
                                        std::size_t most) {
    constexpr std::size_t kRequest = 8;
    switch (framing) {
        case Framing::line:
            return take_line(bytes, most);
        case Framing::tagged:
            return take_tagged(bytes, most);
        case Framing::byte:
            return take_bytes(bytes, 1);
        case Framing::eight_bytes:
            return take_bytes(bytes, kRequest);
        case Framing::ldap:
            break;
    }
    return take_ldap(bytes, most);
}

std::string framed(Framing framing, std::string_view tag, std::string_view text) {
    if (framing == Framing::ldap) return ldap_message(tag, text);
    if (framing == Framing::eight_bytes || framing == Framing::byte) return std::string(text);
    return with_tag(text, tag);
}

}  // namespace tlsfs::cmd
