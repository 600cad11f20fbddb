// SPDX-License-Identifier: MIT
#pragma once

#include <doctest/doctest.h>

#include <memory>

#include "io/socket_pairs.h"

namespace tlsfs::test {

// Null, and a message, where the machine cannot.
inline std::unique_ptr<SocketPairs> start_pairs() {
    auto pairs = SocketPairs::start();
    if (pairs) return std::move(*pairs);
    MESSAGE("no network namespaces here: " << pairs.error().text);
    CHECK(pairs.error().code == EOPNOTSUPP);
    return nullptr;
}

}  // namespace tlsfs::test
