// SPDX-License-Identifier: MIT
// How much one program, or one peer, may ask for. tls(4) lists these under BOUNDS; each is tested
// at its edge.
#pragma once

#include <chrono>
#include <cstddef>

namespace tlsfs::bounds {

// ctl
inline constexpr std::size_t kCtlLine = 4096;   // bytes, without the newline
inline constexpr std::size_t kCtlLines = 64;    // of one write
inline constexpr std::size_t kListNames = 128;  // in `ciphers` and in `groups`
inline constexpr std::size_t kAllowRules = 64;
inline constexpr std::size_t kIdentities = 16;  // that one connection names

// PEM
inline constexpr std::size_t kPem = 1U << 20U;        // bytes of ca, cert or key
inline constexpr std::size_t kChain = 32;             // certificates in cert
inline constexpr std::size_t kAuthorities = 512;      // certificates in ca
inline constexpr std::size_t kRevocationLists = 512;  // in ca
inline constexpr int kMinRsaBits = 2048;              // of our own key, in tlskeyd too
inline constexpr int kMaxRsaBits = 8192;              // of ours and of the peer's

// What a peer may send without any data between: KeyUpdates, session tickets and HelloRequests.
// Servers send one or two tickets; a flood costs us work and the peer nothing.
inline constexpr int kMessagesInARow = 32;

// Bytes that are kept for a side that does not read.
inline constexpr std::size_t kUnsent = 128U << 10U;  // ciphertext; then no plaintext is taken
inline constexpr std::size_t kUnsentAnswers = 512U << 10U;  // then nothing is received either
inline constexpr std::size_t kWaitingWrites = 8U << 20U;  // copies of blocked writes to one `data`

// Sessions to resume.
inline constexpr std::size_t kServerSessions = 256;    // by id (TLS 1.2), of one policy
inline constexpr std::chrono::hours kVerifiedFor{24};  // a chain is looked at again after that

// Descriptors of one user that a file system of their own keeps from being closed.
inline constexpr std::size_t kClosing = 64;

}  // namespace tlsfs::bounds
