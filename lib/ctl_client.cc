// SPDX-License-Identifier: MIT
#include "ctl_client.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <charconv>

#include "pem_copy.h"
#include "retry.h"
#include "text.h"

namespace tlsfs::internal {
namespace {

constexpr std::size_t kMaxSmallFile = 64UL * 1024;

Result<unsigned> read_number(int ctl) {
    std::array<char, 32> text{};
    const ssize_t size = uninterrupted([&] { return read(ctl, text.data(), text.size()); });
    if (size < 0) return system_failure("clone");
    unsigned number = 0;
    const char* end = text.data() + size;
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || stop == end || *stop != '\n') {
        return failure(EPROTO, "clone does not say a connection's number");
    }
    return number;
}

Result<std::string> read_all(int fd) {
    std::string text;
    std::array<char, 4096> buffer{};
    while (text.size() < kMaxSmallFile) {
        const auto size = uninterrupted([&] { return read(fd, buffer.data(), buffer.size()); });
        if (size < 0) return system_failure("read");
        if (size == 0) break;
        text.append(buffer.data(), static_cast<std::size_t>(size));
    }
    return text;
}

}  // namespace

Result<CtlClient> CtlClient::open(Mount mount) {
    const int flags = O_RDWR | O_CLOEXEC;
    UniqueFd ctl(uninterrupted([&] { return openat(mount.place.get(), "clone", flags); }));
    if (!ctl.valid()) return system_failure(mount.path + "/clone");
    const auto number = read_number(ctl.get());
    if (!number) return tl::unexpected(number.error());
    return CtlClient(std::move(mount), std::move(ctl), *number);
}

Result<> CtlClient::say(std::string_view lines) {
    if (lines.empty()) return {};
    const ssize_t size = write(ctl_.get(), lines.data(), lines.size());
    if (size < 0) return explained(errno);
    if (static_cast<std::size_t>(size) != lines.size()) return failure(EIO, "ctl: a short write");
    return {};
}

Result<UniqueFd> CtlClient::shake_hands(const Plan& plan, Streams transport) {
    if (const auto said = say(plan.policy); !said) return tl::unexpected(said.error());
    for (const PemSource& source : plan.files) {
        if (const auto given = give_pem(source); !given) return tl::unexpected(given.error());
    }
    if (const auto used = use_transport(transport); !used) return tl::unexpected(used.error());
    const auto said = say(plan.start);
    if (!said && said.error().code != EINTR) return tl::unexpected(said.error());
    if (!said) wait_until_over();
    auto data = open_file("data", O_RDWR);
    if (!data) return explained(data.error().code);
    return data;
}

// A signal ends our wait for a line, but not what the line began, as with connect(2).
void CtlClient::wait_until_over() const {
    pollfd over{ctl_.get(), POLLIN, 0};
    uninterrupted([&] { return poll(&over, 1, -1); });
}

Result<> CtlClient::use_transport(Streams transport) {
    const auto [read, write] = transport;
    std::string line = "fd " + std::to_string(read);
    if (write != read) line += " " + std::to_string(write);
    auto said = say(line + "\n");
    if (said || said.error().code != EPERM) return said;
    // Descriptors that the companion may not take are sent to it.
    auto guest = AttachClient::connect(mount_);
    if (!guest) return tl::unexpected(guest.error());
    AttachRequest request("fd " + std::to_string(number_));
    request.add_descriptors(read, write);
    const auto taken = guest->ask(request, soon());
    if (!taken) return tl::unexpected(taken.error());
    return {};
}

Result<> CtlClient::give_pem(const PemSource& source) {
    const UniqueFd from(::open(source.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!from.valid()) return system_failure(source.path);
    auto to = open_file(source.verb, O_WRONLY | O_TRUNC);
    if (!to) return tl::unexpected(to.error());
    const auto copied = copy_pem(from.get(), std::move(*to));
    if (copied) return {};
    if (copied.error().at == CopyFailure::At::source) {
        return failure(copied.error().code,
                       source.path + ": " + std::strerror(copied.error().code));
    }
    auto refused = explained(copied.error().code);
    return failure(refused.value().code, source.path + ": " + refused.value().text);
}

Result<std::string> CtlClient::read(const char* name) const {
    const auto file = open_file(name, O_RDONLY);
    if (!file) return tl::unexpected(file.error());
    return read_all(file->get());
}

std::string CtlClient::path_of(const char* name) const {
    return mount_.path + "/" + std::to_string(number_) + "/" + name;
}

Result<UniqueFd> CtlClient::open_file(const char* name, int flags) const {
    const std::string path = std::to_string(number_) + "/" + name;
    UniqueFd file(
        uninterrupted([&] { return openat(mount_.place.get(), path.c_str(), flags | O_CLOEXEC); }));
    if (!file.valid()) return system_failure(path_of(name));
    return file;
}

// The errno that the companion answered, with the cause as status tells it.
tl::unexpected<Error> CtlClient::explained(int code) const {
    if (const auto status = read("status")) {
        const auto tags = parse_tags(*status);
        const auto cause = tags.find("Error");
        if (cause != tags.end()) return failure(code, cause->second);
    }
    return failure(code, std::strerror(code));
}

}  // namespace tlsfs::internal
