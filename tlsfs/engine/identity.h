// SPDX-License-Identifier: MIT
// Identities by name: their certificates are here, their keys in tlskeyd(8).
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/openssl_ptr.h"
#include "engine/remote_key.h"
#include "io/key_client.h"

namespace tlsfs {

// As tlskeyd has described it.
struct NamedIdentity {
    std::string name;
    bool slow = false;  // its key is in a token
    LeafId leaf{};
    std::vector<Bytes> der;  // leaf first
    std::vector<X509Ptr> chain;
    SharedKey certified;  // the leaf's public key
};
using SharedIdentity = std::shared_ptr<const NamedIdentity>;

// For whom a handshake signs, and what became of it.
struct SigningTerms {
    KeyClient* client = nullptr;
    Role role = Role::client;
    uid_t owner = 0;
    std::string peer;  // for tlskeyd's log
    std::optional<Error> failure;
};

class Identities {
 public:
    void set_socket(std::string path) { client_.set_path(std::move(path)); }
    KeyClient& client() { return client_; }

    // As it is now: asks tlskeyd each time, and parses what is new. ENOENT: there is none of that
    // name, or not for this user in this role.
    [[nodiscard]] Result<SharedIdentity> find(const std::string& name, Role role, uid_t owner);

 private:
    static constexpr std::size_t kMaxKnown = 256;

    KeyClient client_;
    std::mutex lock_;  // guards all below; nothing waits under it
    std::map<std::string, SharedIdentity> known_;
};

// The one to show to this peer, in the middle of the handshake: of those whose certificate bears
// the name that a client asked for, or of all if there is none, the first that the peer can verify,
// by its suites, its algorithms and its list of issuers.
[[nodiscard]] const SharedIdentity& choose_identity(SSL* ssl,
                                                    const std::vector<SharedIdentity>& identities);

// Makes it the connection's. `terms` outlive the handshake.
[[nodiscard]] bool use_identity(SSL* ssl, const SharedIdentity& identity, SigningTerms& terms);

}  // namespace tlsfs
