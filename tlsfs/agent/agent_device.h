// SPDX-License-Identifier: MIT
// /dev/tlsagent as calls: the one place that makes its ioctls. The protocol is in kmod/tlsdev.h.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "core/result.h"
#include "core/unique_fd.h"
#include "kmod/tlsdev.h"

namespace tlsfs {

class AgentDevice {
 public:
    // ENOENT: the module is not loaded. EBUSY: it has an agent. EPROTO: it speaks another version.
    [[nodiscard]] static Result<AgentDevice> open();

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const tlsdev_info& info() const { return info_; }

    struct Event {
        tlsdev_event head;
        std::string_view body;  // until the next call
    };
    // Nothing when no event waits.
    [[nodiscard]] std::optional<Event> next_event();

    void answer(__u64 id, __u32 seq, int error) const;
    [[nodiscard]] Result<UniqueFd> take_transport(__u64 id, __u32 seq, unsigned index) const;
    [[nodiscard]] Result<> set_state(__u64 id, tlsdev_state state, int error, int transport) const;
    [[nodiscard]] Result<> end(__u64 id, __u32 how) const;
    void leave_blob(__u64 id, std::string_view blob) const;
    [[nodiscard]] std::optional<tlsdev_status> query(__u64 id) const;
    void forget(__u64 id) const;
    void limit(const tlsdev_limits& limits) const;

 private:
    explicit AgentDevice(UniqueFd fd) : fd_(std::move(fd)) {}
    UniqueFd fd_;
    tlsdev_info info_{};
    std::array<char, TLSDEV_EVENT_MAX> buffer_{};
};

}  // namespace tlsfs
