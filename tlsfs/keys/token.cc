// SPDX-License-Identifier: MIT
#include "keys/token.h"

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "core/key_message.h"
#include "core/secret.h"
#include "keys/trusted_file.h"

namespace tlsfs::keys {
namespace {

tl::unexpected<Error> token_failure(int code, const char* what, CK_RV why) {
    return failure(code, fmt::format("the token: {}: {}", what, p11_kit_strerror(why)));
}

// Of the first slot whose token the URI means.
std::optional<CK_SLOT_ID> find_slot(CK_FUNCTION_LIST* module, P11KitUri* uri) {
    CK_ULONG count = 0;
    if (module->C_GetSlotList(CK_TRUE, nullptr, &count) != CKR_OK) return {};
    std::vector<CK_SLOT_ID> slots(count);
    if (module->C_GetSlotList(CK_TRUE, slots.data(), &count) != CKR_OK) return {};
    slots.resize(count);
    for (const CK_SLOT_ID slot : slots) {
        CK_TOKEN_INFO info{};
        if (module->C_GetTokenInfo(slot, &info) != CKR_OK) continue;
        if (p11_kit_uri_match_token_info(uri, &info) == 1) return slot;
    }
    return {};
}

Result<SecretBytes> pin_of(P11KitUri* uri) {
    if (const char* value = p11_kit_uri_get_pin_value(uri)) {
        return SecretBytes(value, value + std::string_view(value).size());
    }
    const char* source = p11_kit_uri_get_pin_source(uri);
    if (source == nullptr) return SecretBytes();
    std::string path = source;
    if (path.starts_with("file://")) path.erase(0, 7);
    if (path.starts_with("file:")) path.erase(0, 5);
    auto pin = read_trusted_file(path, Secrecy::secret);
    while (pin && !pin->empty() && pin->back() == '\n') pin->pop_back();
    return pin;
}

}  // namespace

Result<UriPtr> parse_token_uri(const std::string& text) {
    UriPtr uri(p11_kit_uri_new());
    const int outcome =
        p11_kit_uri_parse(text.c_str(), P11_KIT_URI_FOR_OBJECT_ON_TOKEN_AND_MODULE, uri.get());
    // The text may hold the PIN.
    if (outcome != P11_KIT_URI_OK || p11_kit_uri_any_unrecognized(uri.get()) != 0) {
        return failure(EINVAL, "key: no URI of PKCS #11");
    }
    return uri;
}

Result<Modules> Modules::load(P11KitUri* uri) {
    const char* path = p11_kit_uri_get_module_path(uri);
    if (path == nullptr) {
        CK_FUNCTION_LIST** all = p11_kit_modules_load_and_initialize(0);
        if (all != nullptr) return Modules(all);
        return failure(ENODEV, "the modules of p11-kit cannot be loaded");
    }
    CK_FUNCTION_LIST* module = p11_kit_module_load(path, P11_KIT_MODULE_CRITICAL);
    if (module == nullptr) return failure(ENODEV, fmt::format("{} cannot be loaded", path));
    if (const CK_RV why = p11_kit_module_initialize(module); why != CKR_OK) {
        p11_kit_module_release(module);
        return token_failure(ENODEV, path, why);
    }
    // As p11-kit makes its lists, so that it can free this one too.
    auto** list = static_cast<CK_FUNCTION_LIST**>(std::calloc(2, sizeof(CK_FUNCTION_LIST*)));
    if (list == nullptr) throw std::bad_alloc();
    list[0] = module;
    return Modules(list);
}

Modules::~Modules() {
    if (list_ != nullptr) p11_kit_modules_finalize_and_release(list_);
}

TokenSession::TokenSession(TokenSession&& other) noexcept
    : module_(std::exchange(other.module_, nullptr)), session_(other.session_), key_(other.key_) {}

TokenSession::~TokenSession() {
    if (module_ != nullptr && session_ != 0) module_->C_CloseSession(session_);
}

Result<TokenSession> TokenSession::open(const Modules& modules, P11KitUri* uri) {
    for (CK_FUNCTION_LIST** module = modules.list(); *module != nullptr; ++module) {
        const auto slot = find_slot(*module, uri);
        if (!slot) continue;
        TokenSession opened(*module);
        const CK_RV why =
            (*module)->C_OpenSession(*slot, CKF_SERIAL_SESSION, nullptr, nullptr, &opened.session_);
        if (why != CKR_OK) return token_failure(ENODEV, "no session", why);
        if (auto done = opened.log_in(uri); !done) return tl::unexpected(done.error());
        if (auto found = opened.find_key(uri); !found) return tl::unexpected(found.error());
        return opened;
    }
    return failure(ENODEV, "the token is not there");
}

Result<> TokenSession::log_in(P11KitUri* uri) {
    auto pin = pin_of(uri);
    if (!pin) return tl::unexpected(pin.error());
    if (pin->empty()) return {};
    const CK_RV why =
        module_->C_Login(session_, CKU_USER, reinterpret_cast<CK_UTF8CHAR*>(pin->data()),
                         static_cast<CK_ULONG>(pin->size()));
    if (why == CKR_OK || why == CKR_USER_ALREADY_LOGGED_IN) return {};
    const bool refused = why == CKR_PIN_INCORRECT || why == CKR_PIN_LOCKED ||
                         why == CKR_PIN_INVALID || why == CKR_PIN_LEN_RANGE;
    return token_failure(refused ? EACCES : ENODEV, "the PIN", why);
}

Result<> TokenSession::find_key(P11KitUri* uri) {
    CK_ULONG count = 0;
    const CK_ATTRIBUTE* given = p11_kit_uri_get_attributes(uri, &count);
    CK_OBJECT_CLASS key_class = CKO_PRIVATE_KEY;
    std::vector<CK_ATTRIBUTE> wanted{{CKA_CLASS, &key_class, sizeof key_class}};
    for (CK_ULONG i = 0; i < count; ++i) {
        if (given[i].type != CKA_CLASS) wanted.push_back(given[i]);
    }
    CK_RV why = module_->C_FindObjectsInit(session_, wanted.data(), wanted.size());
    if (why != CKR_OK) return token_failure(ENODEV, "looking for the key", why);
    CK_OBJECT_HANDLE found[2]{};
    CK_ULONG number = 0;
    why = module_->C_FindObjects(session_, found, 2, &number);
    module_->C_FindObjectsFinal(session_);
    if (why != CKR_OK) return token_failure(ENODEV, "looking for the key", why);
    if (number == 0) return failure(ENODEV, "the token: there is no such key in it");
    if (number > 1) return failure(ENODEV, "the token: there are several such keys in it");
    key_ = found[0];
    return {};
}

Result<Bytes> TokenSession::sign(CK_MECHANISM mechanism, ByteView input) {
    CK_RV why = module_->C_SignInit(session_, &mechanism, key_);
    if (why != CKR_OK) return token_failure(ENODEV, "signing", why);
    Bytes signature(kMaxSignature);
    CK_ULONG size = signature.size();
    why = module_->C_Sign(session_, const_cast<CK_BYTE*>(input.data()), input.size(),
                          signature.data(), &size);
    if (why != CKR_OK) return token_failure(ENODEV, "signing", why);
    signature.resize(size);
    return signature;
}

}  // namespace tlsfs::keys
