// SPDX-License-Identifier: MIT
// What all connections of a mount share. Outlives them.
#pragma once

#include <sys/types.h>

#include "core/log.h"
#include "engine/context.h"
#include "engine/pem_judge.h"
#include "io/background.h"
#include "io/reactor.h"

namespace tlsfs {

struct Services {
    Reactor& reactor;
    Background& background;
    ContextCache& contexts;
    PemJudge& pems;
    Log& log;
    dev_t mount_device;  // whose files are no carriers
};

}  // namespace tlsfs
