// SPDX-License-Identifier: MIT
// libfuse's low-level API, in the one version that this project speaks.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_log.h>
#include <fuse3/fuse_lowlevel.h>
