// SPDX-License-Identifier: MIT
// What a fuzzer holds to be true.
#pragma once

#include <cstdio>
#include <cstdlib>

#define REQUIRE(condition)                                                                  \
    do {                                                                                    \
        if (condition) break;                                                               \
        std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
        std::abort();                                                                       \
    } while (false)
