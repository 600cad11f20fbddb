// SPDX-License-Identifier: MIT
#include "agent/agent_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <tuple>

namespace tlsfs {
namespace {

constexpr const char* kPath = "/dev/tlsagent";

template <class Argument>
Result<int> call(int fd, unsigned long request, Argument& argument, const char* what) {
    const int result = ioctl(fd, request, &argument);
    if (result >= 0) return result;
    return system_failure(what);
}

Result<> done(const Result<int>& called) {
    if (!called) return tl::unexpected(called.error());
    return {};
}

}  // namespace

Result<AgentDevice> AgentDevice::open() {
    UniqueFd fd(::open(kPath, O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!fd.valid()) return system_failure(kPath);
    AgentDevice device(std::move(fd));
    const auto asked = call(device.fd(), TLSDEV_IOC_INFO, device.info_, "tlsdev");
    if (!asked) return tl::unexpected(asked.error());
    if (device.info_.version == TLSDEV_VERSION) return device;
    return failure(EPROTO, fmt::format("the module speaks version {}, this companion {}",
                                       device.info_.version, TLSDEV_VERSION));
}

std::optional<AgentDevice::Event> AgentDevice::next_event() {
    const ssize_t size = read(fd(), buffer_.data(), buffer_.size());
    Event event{};
    if (size < static_cast<ssize_t>(sizeof event.head)) return std::nullopt;
    std::memcpy(&event.head, buffer_.data(), sizeof event.head);
    const auto length = std::min<std::size_t>(event.head.length,
                                              static_cast<std::size_t>(size) - sizeof event.head);
    event.body = std::string_view(buffer_.data() + sizeof event.head, length);
    return event;
}

// A connection that was closed meanwhile is ENOENT to all of these: nothing is left to be done.
void AgentDevice::answer(__u64 id, __u32 seq, int error) const {
    tlsdev_answer argument{id, seq, error};
    std::ignore = call(fd(), TLSDEV_IOC_ANSWER, argument, "answer");
}

Result<UniqueFd> AgentDevice::take_transport(__u64 id, __u32 seq, unsigned index) const {
    tlsdev_carrier argument{id, seq, index};
    const auto fetched = call(fd(), TLSDEV_IOC_CARRIER, argument, "fd");
    if (!fetched) return tl::unexpected(fetched.error());
    return UniqueFd(*fetched);
}

Result<> AgentDevice::set_state(__u64 id, tlsdev_state state, int error, int transport) const {
    tlsdev_set_state argument{id, static_cast<__u32>(state), error, transport, 0};
    return done(call(fd(), TLSDEV_IOC_STATE, argument, "tlsdev"));
}

Result<> AgentDevice::end(__u64 id, __u32 how) const {
    tlsdev_end argument{id, how, 0};
    return done(call(fd(), TLSDEV_IOC_END, argument, "tlsdev"));
}

void AgentDevice::limit(const tlsdev_limits& limits) const {
    tlsdev_limits argument = limits;
    std::ignore = call(fd(), TLSDEV_IOC_LIMITS, argument, "limits");
}

void AgentDevice::leave_blob(__u64 id, std::string_view blob) const {
    const auto length = std::min<std::size_t>(blob.size(), TLSDEV_BLOB_MAX);
    tlsdev_blob argument{id, reinterpret_cast<__u64>(blob.data()), static_cast<__u32>(length), 0};
    std::ignore = call(fd(), TLSDEV_IOC_BLOB, argument, "blob");
}

std::optional<tlsdev_status> AgentDevice::query(__u64 id) const {
    tlsdev_status status{};
    status.id = id;
    if (!call(fd(), TLSDEV_IOC_QUERY, status, "query")) return std::nullopt;
    return status;
}

void AgentDevice::forget(__u64 id) const {
    std::ignore = call(fd(), TLSDEV_IOC_FORGET, id, "forget");
}

}  // namespace tlsfs
