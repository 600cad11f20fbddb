// SPDX-License-Identifier: MIT
// OpenSSL as all programs of the benchmark use it: TLS 1.3, one suite, one group.
#pragma once

#include <openssl/ssl.h>

#include <string>

#include "engine/openssl_ptr.h"

namespace bench {

using tlsfs::SslContextPtr;
using tlsfs::SslPtr;
using tlsfs::SslSessionPtr;

// OpenSSL's errors, and the end.
[[noreturn]] void fail_tls(const std::string& what);

// `groups` in OpenSSL's notation: X25519, or more where a contestant has no X25519 and its
// handshake is not what is measured.
SslContextPtr server_context(const std::string& chain, const std::string& key,
                             const std::string& groups = "X25519");
// An empty `ca` verifies nothing: for load that measures a server, not for contestants.
SslContextPtr client_context(const std::string& ca);

// True if the connection has the version and the suite that everything here has. The group is one
// of the context's.
bool is_as_agreed(SSL* ssl);

}  // namespace bench
