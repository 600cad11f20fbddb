// SPDX-License-Identifier: MIT
// What can be asked of, and said to, a connection that stands.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "attach_client.h"
#include "core/result.h"
#include "ctl_client.h"

namespace tlsfs::internal {

class Control {
 public:
    Control() = default;
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;
    virtual ~Control() = default;

    // status, stats or peer.
    [[nodiscard]] virtual Result<std::string> read(const char* what) = 0;

    // One ctl line, without its newline.
    [[nodiscard]] virtual Result<> say(std::string_view line) = 0;
};

// By messages, from any thread. When the connection is over its status is the last one that came.
[[nodiscard]] std::unique_ptr<Control> control_by_attach(AttachClient guest, unsigned number);

[[nodiscard]] std::unique_ptr<Control> control_by_files(CtlClient ctl);

}  // namespace tlsfs::internal
