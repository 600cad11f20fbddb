// SPDX-License-Identifier: MIT
// What a client and the endpoint say to each other, inside TLS, so that it passes through whatever
// carries it. A client begins with one request of 16 bytes; `GET ` begins an HTTP request instead.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bench {

enum Verb : std::uint32_t {
    // Answers kGo at once and kDone after `count` bytes, which it does not decrypt: it counts them
    // by the lengths of the records. With block != 0 it answers kDone after each `block` bytes.
    kSink = 1,
    // The same, but decrypts, and answers kWrong unless the bytes are the pattern.
    kCheckedSink = 2,
    // Encrypts `count` bytes of the pattern, answers kGo, waits for a byte, and sends them.
    kSource = 3,
    // Sends back whatever comes.
    kEcho = 4,
    // Answers kResumed or kFull: what the handshake was.
    kHello = 5,
};

struct Request {
    std::uint32_t verb = 0;
    std::uint32_t block = 0;
    std::uint64_t count = 0;
};
static_assert(sizeof(Request) == 16);

constexpr char kGo = 'g', kDone = 'd', kWrong = 'x', kResumed = 'r', kFull = 'f';

}  // namespace bench
