// SPDX-License-Identifier: MIT
#include "keys/tpm_key.h"

#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/store.h>

#include "engine/openssl_error.h"

namespace tlsfs::keys {
namespace {

// Of its own: nothing else is to come from that provider.
OSSL_LIB_CTX* tpm_library() {
    static OSSL_LIB_CTX* const library = []() -> OSSL_LIB_CTX* {
        OSSL_LIB_CTX* made = OSSL_LIB_CTX_new();
        if (OSSL_PROVIDER_load(made, "tpm2") != nullptr &&
            OSSL_PROVIDER_load(made, "default") != nullptr) {
            return made;
        }
        OSSL_LIB_CTX_free(made);
        return nullptr;
    }();
    return library;
}

struct StoreClose {
    void operator()(OSSL_STORE_CTX* store) const { OSSL_STORE_close(store); }
};
using InfoPtr = std::unique_ptr<OSSL_STORE_INFO, OpensslFree<OSSL_STORE_INFO_free>>;

}  // namespace

Result<std::shared_ptr<OpensslKey>> open_tpm_key(const std::string& place) {
    ERR_clear_error();
    if (tpm_library() == nullptr) {
        return tl::unexpected(take_openssl_error("key: OpenSSL's provider tpm2", ENODEV));
    }
    const std::unique_ptr<OSSL_STORE_CTX, StoreClose> store(
        OSSL_STORE_open_ex(place.c_str(), tpm_library(), "?provider=tpm2", nullptr, nullptr,
                           nullptr, nullptr, nullptr));
    while (store && OSSL_STORE_eof(store.get()) == 0) {
        const InfoPtr info(OSSL_STORE_load(store.get()));
        if (!info) break;
        if (OSSL_STORE_INFO_get_type(info.get()) != OSSL_STORE_INFO_PKEY) continue;
        return std::make_shared<OpensslKey>(KeyPtr(OSSL_STORE_INFO_get1_PKEY(info.get())),
                                            tpm_library(), OpensslKey::Speed::slow);
    }
    return tl::unexpected(take_openssl_error("key: " + place, ENODEV));
}

}  // namespace tlsfs::keys
