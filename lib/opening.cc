// SPDX-License-Identifier: MIT
#include "opening.h"

#include <fcntl.h>

#include "dial.h"
#include "retry.h"

namespace tlsfs::internal {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kAttempts = 3;

// The companion may end between our finding it and its reading what we ask.
bool is_companion_gone(int code) {
    return code == ENOTCONN || code == ECONNABORTED || code == ECONNREFUSED || code == ENOENT ||
           code == ENODEV;
}

// A guest of `mount`, or of the one that has taken its place.
Result<AttachClient> visit(Mount& mount) {
    for (int attempt = 1;; ++attempt) {
        auto guest = AttachClient::connect(mount);
        if (guest || attempt == kAttempts || !is_companion_gone(guest.error().code)) return guest;
        auto other = find_mount();
        if (!other) return tl::unexpected(other.error());
        mount = std::move(*other);
    }
}

// The companion says which of ca, cert and key is bad; the caller knows them as files.
tl::unexpected<Error> explained(Error error, const Plan& plan) {
    for (const auto& source : plan.files) {
        const std::string prefix = std::string(source.verb) + ": ";
        if (!error.text.starts_with(prefix)) continue;
        error.text.replace(0, prefix.size(), source.path + ": ");
        break;
    }
    return tl::unexpected(std::move(error));
}

}  // namespace

Result<AttachRequest> begin_request(std::string_view first_line, const Plan& plan) {
    AttachRequest request(first_line);
    request.add_lines(plan.policy);
    for (const PemSource& source : plan.files) {
        UniqueFd file(
            uninterrupted([&] { return ::open(source.path.c_str(), O_RDONLY | O_CLOEXEC); }));
        if (!file.valid()) return system_failure(source.path);
        request.add_file(source.verb, std::move(file));
    }
    return request;
}

Result<AttachClient> send_to_companion(const AttachRequest& request) {
    auto mount = find_mount();
    if (!mount) return tl::unexpected(mount.error());
    auto guest = visit(*mount);
    if (!guest) return guest;
    if (const auto sent = guest->send(request); !sent) return tl::unexpected(sent.error());
    return guest;
}

Result<Opening> Opening::prepare(const Transport& transport, Plan plan) {
    if (transport.target.empty() && (transport.read_fd < 0 || transport.write_fd < 0)) {
        return failure(EBADF, "the transport is no open descriptor");
    }
    auto request = begin_request("open", plan);
    if (!request) return tl::unexpected(request.error());
    auto mount = find_mount();
    if (!mount) return tl::unexpected(mount.error());
    Opening opening(std::move(plan), std::move(*request), std::move(*mount));
    opening.transport_ = {transport.read_fd, transport.write_fd};
    if (!transport.target.empty()) {
        const auto dialled = opening.dial_for(transport.target);
        if (!dialled) return tl::unexpected(dialled.error());
    }
    return opening;
}

Result<> Opening::dial_for(const std::string& text) {
    const auto target = parse_dial_target(text);
    if (!target) return tl::unexpected(target.error());
    const auto deadline = Clock::now() + plan_.timeout;
    auto connected = dial(*target, deadline);
    if (!connected) return tl::unexpected(connected.error());
    dialled_ = std::move(*connected);
    transport_ = {dialled_.get(), dialled_.get()};
    plan_.timeout = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    const std::string line = timeout_line(plan_.timeout);
    plan_.policy += line;
    request_.add_lines(line);
    return {};
}

Result<Opened> Opening::open() {
    if (plain_.read_fd >= 0) {
        request_.add_lines("tied\n");
        request_.add_stream("plain", plain_.read_fd, plain_.write_fd);
    }
    request_.add_stream("fd", transport_.read_fd, transport_.write_fd);
    request_.add_lines(plan_.start);
    for (int attempt = 1;; ++attempt) {
        auto opened = try_once();
        if (opened) dialled_.reset();  // the companion's duplicate must be the last
        const bool unread = !opened && opened.error().code == EPIPE;
        if (!unread || attempt == kAttempts) return opened;
    }
}

Result<Opened> Opening::try_once() {
    auto guest = visit(mount_);
    if (!guest) return tl::unexpected(guest.error());
    // The companion watches the plan's time, and this the companion.
    auto answer = guest->ask(request_, *soon() + plan_.timeout);
    if (!answer) return explained(answer.error(), plan_);
    if (!answer->number || answer->descriptor.valid() != (plain_.read_fd < 0)) {
        return failure(EPROTO, "attach: open was answered with something else");
    }
    return Opened{std::move(*guest), *answer->number, std::move(answer->text),
                  std::move(answer->descriptor)};
}

Result<> try_out(const Plan& plan) {
    auto request = begin_request("check", plan);
    if (!request) return tl::unexpected(request.error());
    request->add_lines(plan.start);
    auto mount = find_mount();
    if (!mount) return tl::unexpected(mount.error());
    auto guest = visit(*mount);
    if (!guest) return tl::unexpected(guest.error());
    const auto answer = guest->ask(*request, soon());
    if (!answer) return explained(answer.error(), plan);
    return {};
}

}  // namespace tlsfs::internal
