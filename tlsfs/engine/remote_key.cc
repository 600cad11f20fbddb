// SPDX-License-Identifier: MIT
#include "engine/remote_key.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <array>
#include <new>
#include <string>

namespace tlsfs {
namespace {

// The two of them pass through OpenSSL as one pointer.
constexpr const char* kParameter = "tlsfs-remote-key";

// OpenSSL's "key data": a key of ours, or the public half of another's, to compare ours with.
struct RemoteKey {
    SharedKey certified;
    std::shared_ptr<Signer> signer;  // null: a public key only
};

using Function = void (*)();

template <class T>
OSSL_DISPATCH entry(int id, T* function) {
    return {id, reinterpret_cast<Function>(function)};
}

// No exception may pass through OpenSSL.
template <class Work>
int without_exceptions(Work work) {
    try {
        return work() ? 1 : 0;
    } catch (const std::bad_alloc&) {
        return 0;
    }
}

using KeyContextPtr = std::unique_ptr<EVP_PKEY_CTX, OpensslFree<EVP_PKEY_CTX_free>>;

KeyPtr public_key(const char* type, const OSSL_PARAM* parameters) {
    const KeyContextPtr context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
    EVP_PKEY* key = nullptr;
    if (!context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
        EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY,
                          const_cast<OSSL_PARAM*>(parameters)) != 1) {
        return nullptr;
    }
    return KeyPtr(key);
}

// Key management: all that concerns the public half is left to OpenSSL's own provider.

void* new_key(void* /*provider*/) {
    return new (std::nothrow) RemoteKey;
}

void free_key(void* key) {
    delete static_cast<RemoteKey*>(key);
}

int has(const void* data, int selection) {
    const auto* key = static_cast<const RemoteKey*>(data);
    if (key == nullptr || !key->certified) return 0;
    return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0 || key->signer ? 1 : 0;
}

int match(const void* one, const void* other, int /*selection*/) {
    return EVP_PKEY_eq(static_cast<const RemoteKey*>(one)->certified.get(),
                       static_cast<const RemoteKey*>(other)->certified.get()) == 1
               ? 1
               : 0;
}

template <const char* const& Type>
int import_key(void* data, int /*selection*/, const OSSL_PARAM* parameters) {
    auto* key = static_cast<RemoteKey*>(data);
    return without_exceptions([&] {
        if (const OSSL_PARAM* ours = OSSL_PARAM_locate_const(parameters, kParameter)) {
            *key = *static_cast<const RemoteKey*>(ours->data);
        } else {
            key->certified = public_key(Type, parameters);
        }
        return key->certified != nullptr;
    });
}

// A private half is asked for where another provider is to sign with it: it cannot.
int export_key(void* data, int selection, OSSL_CALLBACK* give, void* argument) {
    const auto* key = static_cast<const RemoteKey*>(data);
    if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 || !key->certified) return 0;
    OSSL_PARAM* parameters = nullptr;
    if (EVP_PKEY_todata(key->certified.get(), EVP_PKEY_PUBLIC_KEY, &parameters) != 1) return 0;
    const int taken = give(parameters, argument);
    OSSL_PARAM_free(parameters);
    return taken;
}

const OSSL_PARAM* key_parameter_types(int /*selection*/) {
    static const OSSL_PARAM types[] = {OSSL_PARAM_octet_ptr(kParameter, nullptr, 0),
                                       OSSL_PARAM_END};
    return types;
}

int get_key_parameters(void* data, OSSL_PARAM* parameters) {
    const auto* key = static_cast<const RemoteKey*>(data);
    return key->certified ? EVP_PKEY_get_params(key->certified.get(), parameters) : 0;
}

const OSSL_PARAM* gettable_key_parameters(void* /*provider*/) {
    static const OSSL_PARAM names[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, nullptr),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, nullptr),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, nullptr),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, nullptr, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, nullptr, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, nullptr, 0),
        OSSL_PARAM_END};
    return names;
}

const char* ecdsa_for_signatures(int operation) {
    return operation == OSSL_OP_SIGNATURE ? "ECDSA" : "EC";
}

constexpr const char* kRsa = "RSA";
constexpr const char* kEc = "EC";
constexpr const char* kEd25519 = "ED25519";
constexpr const char* kEd448 = "ED448";

template <const char* const& Type>
const OSSL_DISPATCH* key_management() {
    static const OSSL_DISPATCH functions[] = {
        entry(OSSL_FUNC_KEYMGMT_NEW, new_key),
        entry(OSSL_FUNC_KEYMGMT_FREE, free_key),
        entry(OSSL_FUNC_KEYMGMT_HAS, has),
        entry(OSSL_FUNC_KEYMGMT_MATCH, match),
        entry(OSSL_FUNC_KEYMGMT_IMPORT, import_key<Type>),
        entry(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_parameter_types),
        entry(OSSL_FUNC_KEYMGMT_EXPORT, export_key),
        entry(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, key_parameter_types),
        entry(OSSL_FUNC_KEYMGMT_GET_PARAMS, get_key_parameters),
        entry(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, gettable_key_parameters),
        &Type == &kEc ? entry(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, ecdsa_for_signatures)
                      : OSSL_DISPATCH{0, nullptr},
        {0, nullptr}};
    return functions;
}

// Signatures.

struct Signing {
    SchemeKind kind;
    const RemoteKey* key = nullptr;  // OpenSSL keeps it as long as this
    std::string hash;
};

void* new_signing(SchemeKind kind) {
    return new (std::nothrow) Signing{kind, nullptr, {}};
}

template <SchemeKind Kind>
void* new_signing_of(void* /*provider*/, const char* /*properties*/) {
    return new_signing(Kind);
}

void free_signing(void* signing) {
    delete static_cast<Signing*>(signing);
}

bool is_pss(const OSSL_PARAM& mode) {
    if (mode.data_type == OSSL_PARAM_UTF8_STRING) {
        return std::string_view(static_cast<const char*>(mode.data)) == OSSL_PKEY_RSA_PAD_MODE_PSS;
    }
    int number = 0;
    return OSSL_PARAM_get_int(&mode, &number) == 1 && number == RSA_PKCS1_PSS_PADDING;
}

// Of what libssl sets only the padding has a choice: salt and mask follow from the scheme.
int set_signing_parameters(void* data, const OSSL_PARAM* parameters) {
    auto* signing = static_cast<Signing*>(data);
    if (parameters == nullptr) return 1;
    if (const auto* mode = OSSL_PARAM_locate_const(parameters, OSSL_SIGNATURE_PARAM_PAD_MODE)) {
        signing->kind = is_pss(*mode) ? SchemeKind::rsa_pss : SchemeKind::rsa_pkcs1;
    }
    return 1;
}

const OSSL_PARAM* settable_signing_parameters(void* /*signing*/, void* /*provider*/) {
    static const OSSL_PARAM names[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, nullptr, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, nullptr, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, nullptr, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, nullptr, 0), OSSL_PARAM_END};
    return names;
}

// "SHA2-256" is "SHA256".
std::string usual_name(const char* hash) {
    std::string name = hash == nullptr ? "" : hash;
    if (name.starts_with("SHA2-")) name.erase(3, 2);
    return name;
}

int begin_signing(void* data, const char* hash, void* key, const OSSL_PARAM* parameters) {
    auto* signing = static_cast<Signing*>(data);
    return without_exceptions([&] {
        if (key != nullptr) signing->key = static_cast<const RemoteKey*>(key);
        signing->hash = usual_name(hash);
        return signing->key != nullptr && signing->key->signer &&
               set_signing_parameters(signing, parameters) == 1;
    });
}

int sign(void* data, unsigned char* into, std::size_t* size, std::size_t room,
         const unsigned char* content, std::size_t content_size) {
    const auto& signing = *static_cast<const Signing*>(data);
    const auto longest = static_cast<std::size_t>(EVP_PKEY_get_size(signing.key->certified.get()));
    if (into == nullptr) {
        *size = longest;
        return 1;
    }
    return without_exceptions([&] {
        const SchemeFacts* scheme = find_scheme(signing.kind, signing.hash);
        if (scheme == nullptr) return false;
        const auto signature = signing.key->signer->sign(*scheme, {content, content_size});
        if (!signature || signature->size() > std::min(room, longest)) return false;
        std::ranges::copy(*signature, into);
        *size = signature->size();
        return true;
    });
}

template <SchemeKind Kind>
const OSSL_DISPATCH* signatures() {
    static const OSSL_DISPATCH functions[] = {
        entry(OSSL_FUNC_SIGNATURE_NEWCTX, new_signing_of<Kind>),
        entry(OSSL_FUNC_SIGNATURE_FREECTX, free_signing),
        entry(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, begin_signing),
        entry(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, sign),
        entry(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, set_signing_parameters),
        entry(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, settable_signing_parameters),
        {0, nullptr}};
    return functions;
}

// The provider.

constexpr const char* kProperties = "provider=tlsfs";

const OSSL_ALGORITHM* algorithms(void* /*provider*/, int operation, int* no_cache) {
    static const OSSL_ALGORITHM keys[] = {
        {"RSA:rsaEncryption:1.2.840.113549.1.1.1", kProperties, key_management<kRsa>(), nullptr},
        {"EC:id-ecPublicKey:1.2.840.10045.2.1", kProperties, key_management<kEc>(), nullptr},
        {"ED25519:1.3.101.112", kProperties, key_management<kEd25519>(), nullptr},
        {"ED448:1.3.101.113", kProperties, key_management<kEd448>(), nullptr},
        {nullptr, nullptr, nullptr, nullptr}};
    static const OSSL_ALGORITHM signers[] = {
        {"RSA:rsaEncryption:1.2.840.113549.1.1.1", kProperties, signatures<SchemeKind::rsa_pkcs1>(),
         nullptr},
        {"ECDSA", kProperties, signatures<SchemeKind::ecdsa>(), nullptr},
        {"ED25519:1.3.101.112", kProperties, signatures<SchemeKind::ed25519>(), nullptr},
        {"ED448:1.3.101.113", kProperties, signatures<SchemeKind::ed448>(), nullptr},
        {nullptr, nullptr, nullptr, nullptr}};
    *no_cache = 0;
    if (operation == OSSL_OP_KEYMGMT) return keys;
    return operation == OSSL_OP_SIGNATURE ? signers : nullptr;
}

int start_provider(const OSSL_CORE_HANDLE* /*handle*/, const OSSL_DISPATCH* /*from_core*/,
                   const OSSL_DISPATCH** to_core, void** provider) {
    static const OSSL_DISPATCH functions[] = {entry(OSSL_FUNC_PROVIDER_QUERY_OPERATION, algorithms),
                                              {0, nullptr}};
    static int nothing_to_keep = 0;
    *to_core = functions;
    *provider = &nothing_to_keep;
    return 1;
}

// Of its own, so that nobody who looks for RSA comes upon this.
OSSL_LIB_CTX* library() {
    static OSSL_LIB_CTX* const made = [] {
        OSSL_LIB_CTX* context = OSSL_LIB_CTX_new();
        if (context == nullptr ||
            OSSL_PROVIDER_add_builtin(context, "tlsfs", start_provider) != 1 ||
            OSSL_PROVIDER_load(context, "tlsfs") == nullptr) {
            throw std::bad_alloc();
        }
        return context;
    }();
    return made;
}

const char* type_name(const EVP_PKEY* key) {
    for (const char* name : {kRsa, kEc, kEd25519, kEd448}) {
        if (EVP_PKEY_is_a(key, name) == 1) return name;
    }
    return nullptr;
}

}  // namespace

KeyPtr make_remote_key(const SharedKey& certified, std::shared_ptr<Signer> signer) {
    const char* type = type_name(certified.get());
    if (type == nullptr) return nullptr;
    RemoteKey ours{certified, std::move(signer)};
    const KeyContextPtr context(EVP_PKEY_CTX_new_from_name(library(), type, kProperties));
    OSSL_PARAM parameters[] = {OSSL_PARAM_octet_ptr(kParameter, nullptr, 0), OSSL_PARAM_END};
    parameters[0].data = &ours;
    EVP_PKEY* key = nullptr;
    if (!context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
        EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_KEYPAIR, parameters) != 1) {
        ERR_clear_error();
        return nullptr;
    }
    return KeyPtr(key);
}

}  // namespace tlsfs
