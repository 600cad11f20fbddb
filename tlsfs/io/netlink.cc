// SPDX-License-Identifier: MIT
#include "io/netlink.h"

#include <fmt/format.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <span>
#include <string_view>

#include "core/unique_fd.h"

namespace tlsfs::netlink {
namespace {

constexpr timeval kKernelTimeout{1, 0};       // the kernel answers at once
constexpr std::uint32_t kFirstWindow = 1024;  // segments

// One request, with room for the few attributes that we send.
template <class Body>
class Message {
 public:
    Message(std::uint16_t type, std::uint16_t flags) {
        header().nlmsg_len = NLMSG_LENGTH(sizeof(Body));
        header().nlmsg_type = type;
        header().nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    }

    nlmsghdr& header() { return *reinterpret_cast<nlmsghdr*>(bytes_.data()); }
    Body& body() { return *static_cast<Body*>(NLMSG_DATA(&header())); }

    void add(std::uint16_t type, std::span<const char> value) {
        rtattr* attribute = next();
        attribute->rta_type = type;
        attribute->rta_len = static_cast<std::uint16_t>(RTA_LENGTH(value.size()));
        std::memcpy(RTA_DATA(attribute), value.data(), value.size());
        header().nlmsg_len = NLMSG_ALIGN(header().nlmsg_len) + RTA_ALIGN(attribute->rta_len);
    }
    void add(std::uint16_t type, std::uint32_t value) {
        add(type, {reinterpret_cast<const char*>(&value), sizeof value});
    }

    // An attribute of attributes: those added until end().
    rtattr* begin(std::uint16_t type) {
        rtattr* attribute = next();
        add(type, std::span<const char>());
        return attribute;
    }
    void end(rtattr* attribute) {
        const auto* start = reinterpret_cast<const char*>(attribute);
        attribute->rta_len = static_cast<std::uint16_t>(bytes_.data() + header().nlmsg_len - start);
    }

 private:
    rtattr* next() {
        return reinterpret_cast<rtattr*>(bytes_.data() + NLMSG_ALIGN(header().nlmsg_len));
    }

    alignas(nlmsghdr) std::array<char, 256> bytes_{};
};

Result<> receive_outcome(int fd, std::string_view what) {
    alignas(nlmsghdr) std::array<char, 1024> answer{};
    const ssize_t size = recv(fd, answer.data(), answer.size(), 0);
    if (size < 0) return system_failure(std::string(what));
    const auto* header = reinterpret_cast<const nlmsghdr*>(answer.data());
    if (!NLMSG_OK(header, static_cast<std::uint32_t>(size)) || header->nlmsg_type != NLMSG_ERROR) {
        return failure(EPROTO, fmt::format("{}: netlink gave no answer", what));
    }
    const int code = -static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error;
    if (code == 0) return {};
    return failure(code, fmt::format("{}: {}", what, std::strerror(code)));
}

template <class Body>
Result<> ask(Message<Body>& message, std::string_view what) {
    const UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!fd.valid()) return system_failure("netlink");
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kKernelTimeout, sizeof kKernelTimeout);
    if (send(fd.get(), &message.header(), message.header().nlmsg_len, 0) < 0) {
        return system_failure(std::string(what));
    }
    return receive_outcome(fd.get(), what);
}

}  // namespace

Result<> bring_up(std::uint32_t device) {
    Message<ifinfomsg> message(RTM_NEWLINK, 0);
    message.body().ifi_index = static_cast<int>(device);
    message.body().ifi_flags = message.body().ifi_change = IFF_UP;
    return ask(message, "link up");
}

Result<> make_all_local(int family, std::uint32_t device, bool link_local) {
    Message<rtmsg> message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    rtmsg& route = message.body();
    route.rtm_family = static_cast<unsigned char>(family);
    route.rtm_table = RT_TABLE_LOCAL;
    route.rtm_protocol = RTPROT_BOOT;
    route.rtm_scope = RT_SCOPE_HOST;
    route.rtm_type = RTN_LOCAL;
    if (link_local) {
        const in6_addr prefix{{{0xfe, 0x80}}};
        route.rtm_dst_len = 10;
        message.add(RTA_DST, {reinterpret_cast<const char*>(&prefix), sizeof prefix});
    }
    message.add(RTA_OIF, device);
    // Many small writes need not wait for a delayed acknowledgement.
    rtattr* metrics = message.begin(RTA_METRICS);
    message.add(RTAX_INITCWND, kFirstWindow);
    message.end(metrics);
    return ask(message, family == AF_INET6 ? "IPv6 route" : "IPv4 route");
}

Result<> make_device(std::uint32_t index, const char* kind) {
    Message<ifinfomsg> message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    message.body().ifi_index = static_cast<int>(index);
    const std::string name = fmt::format("zone{}", index);
    message.add(IFLA_IFNAME, {name.c_str(), name.size() + 1});
    rtattr* info = message.begin(IFLA_LINKINFO);
    const std::string_view word(kind);
    message.add(IFLA_INFO_KIND, {word.data(), word.size()});
    message.end(info);
    return ask(message, kind);
}

}  // namespace tlsfs::netlink
