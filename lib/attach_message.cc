// SPDX-License-Identifier: MIT
#include "attach_message.h"

#include <charconv>
#include <cstring>

#include "text.h"

namespace tlsfs::internal {
namespace {

using Kind = AttachReply::Kind;

constexpr std::string_view kOkWithNumber = "ok ";

tl::unexpected<Error> unknown_answer(std::string_view line) {
    return failure(EPROTO, "attach: an answer that is none: " + printable(std::string(line)));
}

std::optional<unsigned> parse_connection_number(std::string_view text) {
    unsigned number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || stop != end) return std::nullopt;
    return number;
}

tl::unexpected<Error> refusal(std::string_view line) {
    const auto name = line.substr(0, line.find(' '));
    const int code = errno_of_name(name);
    if (code == 0) return unknown_answer(line);
    line.remove_prefix(name.size());
    if (line.starts_with(' ')) line.remove_prefix(1);
    return failure(code, line.empty() ? std::strerror(code) : printable(std::string(line)));
}

}  // namespace

void AttachRequest::add_stream(std::string_view verb, int read_fd, int write_fd) {
    text_ += verb;
    text_ += read_fd == write_fd ? " -\n" : " - -\n";
    add_descriptors(read_fd, write_fd);
}

void AttachRequest::add_descriptors(int read_fd, int write_fd) {
    descriptors_.push_back(read_fd);
    if (read_fd != write_fd) descriptors_.push_back(write_fd);
}

void AttachRequest::add_file(std::string_view verb, UniqueFd file) {
    text_ += verb;
    text_ += " -\n";
    descriptors_.push_back(file.get());
    owned_.push_back(std::move(file));
}

Result<AttachReply> parse_attach_reply(std::string_view text) {
    const std::string_view line = text.substr(0, text.find('\n'));
    AttachReply message;
    message.kind = line == "state" ? Kind::state : Kind::answer;
    if (line.starts_with(kOkWithNumber)) {
        message.number = parse_connection_number(line.substr(kOkWithNumber.size()));
        if (!message.number) return unknown_answer(line);
    } else if (line != "ok" && line != "state") {
        return refusal(line);
    }
    if (line.size() < text.size()) message.text = text.substr(line.size() + 1);
    return message;
}

int errno_of_name(std::string_view name) {
    constexpr int kHighest = 4095;  // MAX_ERRNO of the kernel
    for (int code = 1; code <= kHighest; ++code) {
        const char* known = strerrorname_np(code);
        if (known != nullptr && name == known) return code;
    }
    return 0;
}

}  // namespace tlsfs::internal
