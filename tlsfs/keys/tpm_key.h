// SPDX-License-Identifier: MIT
// Keys in a TPM, by OpenSSL's provider tpm2 (Debian's package tpm2-openssl).
#pragma once

#include <memory>
#include <string>

#include "core/result.h"
#include "keys/openssl_key.h"

namespace tlsfs::keys {

// `place`: a persistent handle as `handle:0x81000001`, or `object:FILE`. ENODEV: there is no
// provider, no TPM, or no such key. Waits for the TPM.
[[nodiscard]] Result<std::shared_ptr<OpensslKey>> open_tpm_key(const std::string& place);

}  // namespace tlsfs::keys
