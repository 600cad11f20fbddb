// SPDX-License-Identifier: MIT
// Whether PEM is good for what it was written to. A server under load is given the same certificate
// and key with every connection, and parsing a key costs more than a handshake; so what was found
// good is remembered by its digest, which no key can be had from.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <string>

#include "core/result.h"
#include "core/secret.h"

namespace tlsfs {

enum class PemFile : std::uint8_t { ca, cert, key };

class PemJudge {
 public:
    // EINVAL and a text that names the cause.
    [[nodiscard]] Result<> judge(PemFile file, const SecretBytes& pem);

 private:
    static constexpr std::size_t kRemembered = 256;

    [[nodiscard]] bool known(const std::string& digest);
    void remember(std::string digest);

    std::mutex lock_;              // guards all below
    std::list<std::string> good_;  // the last used first
};

}  // namespace tlsfs
