// SPDX-License-Identifier: MIT
// An identity: certificates, their key, and who may use it as what. Immutable, but for its key's
// own affairs.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/key_message.h"
#include "engine/openssl_ptr.h"
#include "keys/identity_file.h"
#include "keys/signing_key.h"
#include "keys/users.h"

namespace tlsfs::keys {

// What is signed with, and the certificates that say so.
struct Credential {
    std::vector<Bytes> chain;  // DER, leaf first
    LeafId leaf{};
    KeyPtr certified;  // the leaf's public key
    std::shared_ptr<SigningKey> key;

    // EINVAL: the key is none for that scheme. A token's signature is verified: it may have another
    // key than the certificate says, or be faulty.
    [[nodiscard]] Result<Bytes> sign(const SchemeFacts& scheme, ByteView content) const;
};

// A key in a file must fit the certificate; one in a token is not asked for yet.
[[nodiscard]] Result<std::shared_ptr<const Credential>> load_credential(const IdentityFile& file);

struct KeptIdentity {
    std::string name;
    Users users;
    std::set<Role> roles;
    TlsVersion min_version = TlsVersion::tls12;
    std::shared_ptr<const Credential> credential;
};

}  // namespace tlsfs::keys
