// SPDX-License-Identifier: MIT
// What all connections of a mount share. Outlives them.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>

#include "core/log.h"
#include "engine/context.h"
#include "engine/pem_judge.h"
#include "io/background.h"
#include "io/reactor.h"
#include "io/socket_pairs.h"

namespace tlsfs {

class Connection;

struct Services {
    Reactor& reactor;
    Background& background;
    ContextCache& contexts;
    PemJudge& pems;
    Log& log;
    dev_t mount_device;            // whose files are no transports
    SocketPairs* pairs = nullptr;  // null: there are no data sockets here
    // Gives back one opened() of a connection. Set by the registry.
    std::function<void(const std::shared_ptr<Connection>&)> release;
};

}  // namespace tlsfs
