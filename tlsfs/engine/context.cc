// SPDX-License-Identifier: MIT
#include "engine/context.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <sstream>
#include <tuple>

#include "core/bounds.h"
#include "engine/openssl_error.h"
#include "engine/pem.h"
#include "engine/sha256.h"
#include "engine/tls.h"
#include "engine/verify.h"
#include "engine/wiping_memory.h"

namespace tlsfs {
namespace {

using Mode = VerifyPolicy::Mode;

constexpr std::size_t kKeptContexts = 128;
constexpr unsigned long kCheckRevocation = X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;

// AEAD suites with forward secrecy.
constexpr const char* kDefaultCiphers12 =
    "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!eNULL:!PSK:!SRP:!aDSS";
constexpr std::string_view kNeverCiphers = ":!aNULL:!eNULL:!PSK:!SRP:!aDSS";

std::vector<std::string> split_list(const std::string& list) {
    std::vector<std::string> elements;
    std::istringstream stream(list);
    for (std::string element; std::getline(stream, element, ':');) elements.push_back(element);
    if (list.empty() || list.ends_with(':')) elements.emplace_back();
    return elements;
}

bool is_tls13_suite(std::string_view name) {
    return name.starts_with("TLS_");
}

SslContextPtr new_context(Role role) {
    return SslContextPtr(
        SSL_CTX_new(role == Role::client ? TLS_client_method() : TLS_server_method()));
}

int version_number(TlsVersion version) {
    return version == TlsVersion::tls12 ? TLS1_2_VERSION : TLS1_3_VERSION;
}

// TLS 1.3 suites and those before it are two lists to OpenSSL. A list that names suites of one
// version only rules the other version out.
struct CipherLists {
    std::string tls13, tls12;
};

CipherLists cipher_lists(const Settings& settings) {
    if (settings.ciphers.empty()) return {TLS_DEFAULT_CIPHERSUITES, kDefaultCiphers12};
    CipherLists lists;
    for (const std::string& element : split_list(settings.ciphers)) {
        std::string& list = is_tls13_suite(element) ? lists.tls13 : lists.tls12;
        if (!list.empty()) list += ':';
        list += element;
    }
    if (!lists.tls12.empty()) lists.tls12 += kNeverCiphers;
    return lists;
}

Settings with_ciphers(const std::string& list) {
    Settings settings;
    settings.ciphers = list;
    return settings;
}

Result<> set_ciphers_and_versions(SSL_CTX* ssl, const Settings& settings) {
    const CipherLists lists = cipher_lists(settings);
    auto min = settings.min_version;
    auto max = settings.max_version;
    if (lists.tls12.empty()) min = TlsVersion::tls13;
    if (lists.tls13.empty()) max = TlsVersion::tls12;
    if (min > max) return failure(EINVAL, "no cipher in the list belongs to an allowed version");
    ERR_clear_error();
    const bool done =
        SSL_CTX_set_min_proto_version(ssl, version_number(min)) == 1 &&
        SSL_CTX_set_max_proto_version(ssl, version_number(max)) == 1 &&
        (lists.tls12.empty() || SSL_CTX_set_cipher_list(ssl, lists.tls12.c_str()) == 1) &&
        SSL_CTX_set_ciphersuites(ssl, lists.tls13.c_str()) == 1;
    if (!done) return tl::unexpected(take_openssl_error("ciphers", EINVAL));
    return {};
}

// One element of OpenSSL's cipher string: a name, names joined by +, or one of these behind !, - or
// +. Its other separators, and @SECLEVEL, which could let anonymous suites in, are not taken.
bool knows_cipher(SSL_CTX* scratch, const std::string& element) {
    const auto plain = [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
               std::string_view("-+!_.").find(c) != std::string_view::npos;
    };
    if (element.empty() || !std::ranges::all_of(element, plain)) return false;
    const bool operation = std::string_view("!-+").find(element.front()) != std::string_view::npos;
    ERR_clear_error();
    const bool known =
        is_tls13_suite(element)
            ? SSL_CTX_set_ciphersuites(scratch, element.c_str()) == 1
            : SSL_CTX_set_cipher_list(scratch, ((operation ? "ALL:" : "") + element).c_str()) == 1;
    ERR_clear_error();
    return known;
}

Result<> set_groups(SSL_CTX* ssl, const std::string& list) {
    if (list.empty()) return {};
    ERR_clear_error();
    if (SSL_CTX_set1_groups_list(ssl, list.c_str()) == 1) return {};
    ERR_clear_error();
    return failure(EINVAL, fmt::format("groups: '{}' names one that OpenSSL does not know", list));
}

Result<> load_certificate(SSL_CTX* ssl, const Settings& settings) {
    if (settings.cert.empty() && settings.key.empty()) return {};
    if (settings.cert.empty()) return failure(EINVAL, "a key was written, but no cert");
    if (settings.key.empty()) return failure(EINVAL, "a cert was written, but no key");
    auto chain = parse_chain(settings.cert);
    if (!chain) return tl::unexpected(chain.error());
    ERR_clear_error();
    if (SSL_CTX_use_certificate(ssl, chain->front().get()) != 1) {
        return tl::unexpected(take_openssl_error("cert", EINVAL));
    }
    for (const X509Ptr& issuer : std::span(*chain).subspan(1)) {
        if (SSL_CTX_add1_chain_cert(ssl, issuer.get()) != 1) {
            return tl::unexpected(take_openssl_error("cert", EINVAL));
        }
    }
    return {};
}

Result<> load_authorities(SSL_CTX* ssl, const SecretBytes& pem, Role role) {
    const auto authorities = parse_authorities(pem);
    if (!authorities) return tl::unexpected(authorities.error());
    X509_STORE* store = SSL_CTX_get_cert_store(ssl);
    for (const X509Ptr& certificate : authorities->certificates) {
        X509_STORE_add_cert(store, certificate.get());
        // Tells clients which certificates will do (RFC 8446 section 4.2.4).
        if (role == Role::server) SSL_CTX_add_client_CA(ssl, certificate.get());
    }
    for (const CrlPtr& crl : authorities->crls) X509_STORE_add_crl(store, crl.get());
    // Whatever stands in the file is trusted, a leaf or an intermediate as well as a root.
    unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;
    if (!authorities->crls.empty()) flags |= kCheckRevocation;
    X509_STORE_set_flags(store, flags);
    return {};
}

VerifyPolicy resolve_policy(const Settings& settings, Role role) {
    return {verify_mode(settings, role), settings.verify.pins};
}

// Who demands names must verify them; and where nobody names the clients, "the machine's trust
// store" is every certificate that a public authority has ever issued.
Result<> check_allow(const Settings& settings, Role role, Mode mode, const TrustStore& trust) {
    const bool named = !settings.allow.empty();
    if (role == Role::client) {
        if (named) return failure(EINVAL, "client: allow is for servers");
        return {};
    }
    if (named && mode == Mode::none) {
        return failure(EINVAL, "server: allow needs a verified client: say verify ca or pin");
    }
    if (!named && mode == Mode::system && trust.is_machines()) {
        return failure(EINVAL,
                       "server: verify system would let in every client with a certificate of a "
                       "public authority: say allow too");
    }
    return {};
}

void set_verification(SSL_CTX* ssl, Role role, Mode mode) {
    SSL_CTX_set_cert_verify_callback(ssl, check_peer, nullptr);
    if (role == Role::client) {
        SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, nullptr);
    } else if (mode != Mode::none) {
        SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    }
}

std::vector<unsigned char> alpn_wire_format(const std::vector<std::string>& protocols) {
    std::vector<unsigned char> wire;
    for (const std::string& protocol : protocols) {
        wire.push_back(static_cast<unsigned char>(protocol.size()));
        wire.insert(wire.end(), protocol.begin(), protocol.end());
    }
    return wire;
}

// A server's choice: the first of its own protocols that the client offers, or an alert.
int choose_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned in_size, void* argument) {
    const auto* context = static_cast<const TlsContext*>(argument);
    unsigned char* chosen = nullptr;
    const int outcome =
        SSL_select_next_proto(&chosen, out_size, context->alpn.data(),
                              static_cast<unsigned>(context->alpn.size()), in, in_size);
    if (outcome != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

int accept_any_name(SSL*, int*, void*) {
    return SSL_TLSEXT_ERR_OK;
}

Result<> set_alpn(TlsContext& context) {
    if (context.alpn.empty()) return {};
    if (context.role == Role::server) {
        SSL_CTX_set_alpn_select_cb(context.ssl.get(), choose_alpn, &context);
        return {};
    }
    if (context.alpn.size() > 65535 ||
        SSL_CTX_set_alpn_protos(context.ssl.get(), context.alpn.data(),
                                static_cast<unsigned>(context.alpn.size())) != 0) {
        return failure(EINVAL, "alpn: too many protocols");
    }
    return {};
}

// Names every setting, so that one that is forgotten here does not compile.
std::string policy_id(const Settings& settings, Role role, uid_t owner, std::string_view trust) {
    const auto& [min_version, max_version, ciphers, groups, alpn, verify, allow, timeout, idle,
                 session_cache, engine, identities] = static_cast<const Choices&>(settings);
    const auto& [ca, cert, key] = static_cast<const Pems&>(settings);
    std::ignore = std::tie(timeout, idle, engine);  // no affair of a context's
    Sha256 digest;
    digest.add(fmt::format("{} {} {} {} {} {}", owner, static_cast<int>(role),
                           static_cast<int>(min_version), static_cast<int>(max_version),
                           static_cast<int>(verify.mode), session_cache));
    digest.add(ciphers);
    digest.add(groups);
    for (const std::string& protocol : alpn) digest.add(protocol);
    digest.add("allow");
    for (const AllowRule& rule : allow) {
        digest.add(fmt::format("{}", static_cast<int>(rule.kind)));
        digest.add(rule.pattern);
    }
    digest.add("identities");
    for (const std::string& name : identities) digest.add(name);
    digest.add("pins");
    for (const Pin& pin : verify.pins) {
        digest.add(pin.of == Pin::Of::certificate ? "sha256" : "spki");
        digest.add(pin.sha256.data(), pin.sha256.size());
    }
    const WipeScope hashed_key;
    for (const SecretBytes* pem : {&ca, &cert, &key}) digest.add(pem->data(), pem->size());
    digest.add(trust);
    return digest.finish();
}

std::string file_stamp(const std::string& path) {
    struct stat info{};
    if (stat(path.c_str(), &info) != 0) return fmt::format("{} absent;", path);
    return fmt::format("{} {} {} {}.{};", path, info.st_ino, info.st_size, info.st_mtim.tv_sec,
                       info.st_mtim.tv_nsec);
}

std::string environment_or(const char* variable, const char* otherwise) {
    const char* value = secure_getenv(variable);
    return value != nullptr ? value : otherwise;
}

std::string trust_stamp(const TrustStore& trust) {
    std::string stamp;
    if (trust.is_machines()) {
        stamp = file_stamp(environment_or(X509_get_default_cert_file_env(),
                                          X509_get_default_cert_file())) +
                file_stamp(
                    environment_or(X509_get_default_cert_dir_env(), X509_get_default_cert_dir()));
    }
    for (const std::string* place : {&trust.file, &trust.directory, &trust.crl}) {
        if (!place->empty()) stamp += file_stamp(*place);
    }
    return stamp;
}

bool load_revocation_lists(X509_STORE* store, const std::string& file) {
    X509_LOOKUP* lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    return lookup != nullptr && X509_load_crl_file(lookup, file.c_str(), X509_FILETYPE_PEM) > 0 &&
           X509_STORE_set_flags(store, kCheckRevocation) == 1;
}

bool fill_store(X509_STORE* store, const TrustStore& trust) {
    if (!trust.crl.empty() && !load_revocation_lists(store, trust.crl)) return false;
    if (trust.is_machines()) return X509_STORE_set_default_paths(store) == 1;
    return (trust.file.empty() || X509_STORE_load_file(store, trust.file.c_str()) == 1) &&
           (trust.directory.empty() || X509_STORE_load_path(store, trust.directory.c_str()) == 1);
}

struct Suite {
    std::uint32_t id;
    std::string name;
};

// What a list of known elements comes to.
std::vector<Suite> suites_of(const std::string& list) {
    const SslContextPtr scratch = new_context(Role::client);
    const CipherLists lists = cipher_lists(with_ciphers(list));
    if (!lists.tls12.empty()) SSL_CTX_set_cipher_list(scratch.get(), lists.tls12.c_str());
    SSL_CTX_set_ciphersuites(scratch.get(), lists.tls13.c_str());
    ERR_clear_error();
    std::vector<Suite> suites;
    const STACK_OF(SSL_CIPHER)* all = SSL_CTX_get_ciphers(scratch.get());
    for (int i = 0; i < sk_SSL_CIPHER_num(all); ++i) {
        const SSL_CIPHER* cipher = sk_SSL_CIPHER_value(all, i);
        const Suite suite{SSL_CIPHER_get_id(cipher), SSL_CIPHER_get_name(cipher)};
        // Without a list of its own a version keeps OpenSSL's, and is ruled out elsewhere.
        const bool listed = is_tls13_suite(suite.name) || !lists.tls12.empty();
        if (listed) suites.push_back(suite);
    }
    return suites;
}

}  // namespace

Result<> check_ciphers(const std::string& list) {
    const SslContextPtr scratch = new_context(Role::client);
    for (const std::string& element : split_list(list)) {
        if (!knows_cipher(scratch.get(), element)) {
            return failure(EINVAL, fmt::format("ciphers: '{}' is not known", element));
        }
    }
    return {};
}

Result<> check_groups(const std::string& list) {
    if (list.empty()) return failure(EINVAL, "groups: the list is empty");
    return set_groups(new_context(Role::client).get(), list);
}

Result<> check_ciphers_within(const std::string& list, const std::string& allowed) {
    const std::vector<Suite> permitted = suites_of(allowed);
    for (const Suite& suite : suites_of(list)) {
        if (std::ranges::find(permitted, suite.id, &Suite::id) != permitted.end()) continue;
        return failure(EACCES,
                       fmt::format("ciphers: the administrator's policy forbids {}", suite.name));
    }
    return {};
}

std::string cipher_names(const Settings& settings) {
    const SslContextPtr scratch = new_context(Role::client);
    if (!set_ciphers_and_versions(scratch.get(), settings)) return {};
    const SslPtr ssl(SSL_new(scratch.get()));
    STACK_OF(SSL_CIPHER)* suites = SSL_get1_supported_ciphers(ssl.get());
    std::string text;
    for (int i = 0; i < sk_SSL_CIPHER_num(suites); ++i) {
        text += SSL_CIPHER_get_name(sk_SSL_CIPHER_value(suites, i));
        text += '\n';
    }
    sk_SSL_CIPHER_free(suites);
    return text;
}

std::string openssl_version() {
    return fmt::format("openssl {}", OpenSSL_version(OPENSSL_VERSION_STRING));
}

Result<> check_trust_file(const std::string& file) {
    if (access(file.c_str(), R_OK) != 0) return system_failure(file);
    const StorePtr store(X509_STORE_new());
    ERR_clear_error();
    if (X509_STORE_load_file(store.get(), file.c_str()) == 1) return {};
    return tl::unexpected(take_openssl_error(file, EINVAL));
}

Result<> check_revocation_file(const std::string& file) {
    if (access(file.c_str(), R_OK) != 0) return system_failure(file);
    const StorePtr store(X509_STORE_new());
    ERR_clear_error();
    if (load_revocation_lists(store.get(), file)) return {};
    return tl::unexpected(take_openssl_error(file, EINVAL));
}

Result<> check_trust_directory(const std::string& directory) {
    std::error_code error;
    // A subject's hash, a dot, a number: OpenSSL looks for no other names.
    const auto hashed = [](const std::filesystem::directory_entry& entry) {
        const std::string name = entry.path().filename();
        const auto hex = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
        return name.size() > 9 && name[8] == '.' && name[9] != 'r' &&
               std::all_of(name.begin(), name.begin() + 8, hex);
    };
    const std::filesystem::directory_iterator entries(directory, error);
    if (error) return failure(EINVAL, directory + ": " + error.message());
    if (std::any_of(begin(entries), end(entries), hashed)) return {};
    return failure(EINVAL, directory + ": no certificate under its hash: run openssl rehash");
}

void ContextCache::set_trust(TrustStore trust) {
    const std::scoped_lock guard(lock_);
    trust_ = std::move(trust);
    ++trust_generation_;
    kept_.clear();
}

ContextCache::Trust ContextCache::trust_now() {
    Trust trust;
    unsigned generation = 0;
    {
        const std::scoped_lock guard(lock_);
        trust.store = trust_;
        generation = trust_generation_;
    }
    trust.stamp = fmt::format("{};", generation) + trust_stamp(trust.store);
    return trust;
}

Result<> ContextCache::load_trust(SSL_CTX* ssl, const Settings& settings, Mode mode,
                                  const Trust& trust) {
    if (mode == Mode::ca) {
        if (settings.ca.empty()) return failure(EINVAL, "verify ca: no ca was written");
        return load_authorities(
            ssl, settings.ca,
            SSL_CTX_get_ssl_method(ssl) == TLS_server_method() ? Role::server : Role::client);
    }
    return mode == Mode::system ? use_system_store(ssl, trust) : Result<>();
}

Result<> ContextCache::use_system_store(SSL_CTX* ssl, const Trust& trust) {
    const std::scoped_lock reading(store_lock_);
    if (!system_store_ || trust.stamp != system_stamp_) {
        StorePtr store(X509_STORE_new());
        ERR_clear_error();
        if (!fill_store(store.get(), trust.store)) {
            return tl::unexpected(take_openssl_error("the trust store", EINVAL));
        }
        system_store_ = std::move(store);
        system_stamp_ = trust.stamp;
    }
    SSL_CTX_set1_cert_store(ssl, system_store_.get());
    return {};
}

// With a context goes the key that its tickets are sealed with: who got hold of it could read what
// TLS 1.2 sessions said before. So a server's context does not grow old.
ContextCache::ContextPtr ContextCache::find(const std::string& id) {
    const auto found = contexts_.find(id);
    ContextPtr context = found == contexts_.end() ? nullptr : found->second.lock();
    return context && is_old(*context) ? nullptr : context;
}

bool ContextCache::is_old(const TlsContext& context) const {
    return context.role == Role::server && std::chrono::steady_clock::now() - context.made >= life_;
}

void ContextCache::keep(ContextPtr context) {
    std::erase_if(kept_, [&](const Kept& kept) {
        return kept.context->id == context->id || is_old(*kept.context);
    });
    kept_.push_front({std::move(context), std::chrono::steady_clock::now()});
    if (kept_.size() > kKeptContexts) kept_.pop_back();
}

void ContextCache::expire() {
    sessions_.expire();
    const auto now = std::chrono::steady_clock::now();
    const std::scoped_lock guard(lock_);
    std::erase_if(
        kept_, [&](const Kept& kept) { return now - kept.used >= life_ || is_old(*kept.context); });
    std::erase_if(contexts_, [](const auto& entry) { return entry.second.expired(); });
    std::erase_if(keys_, [](const auto& entry) { return entry.second.expired(); });
}

Result<std::shared_ptr<TlsContext>> ContextCache::build(const Settings& settings, Role role,
                                                        std::string id, const Trust& trust) {
    auto context = std::make_shared<TlsContext>();
    context->ssl = new_context(role);
    if (!context->ssl) return tl::unexpected(take_openssl_error("SSL_CTX_new", ENOMEM));
    context->role = role;
    context->verify = resolve_policy(settings, role);
    if (auto sound = check_allow(settings, role, context->verify.mode, trust.store); !sound) {
        return tl::unexpected(sound.error());
    }
    context->allow = settings.allow;
    context->resumable = settings.session_cache;
    context->id = std::move(id);
    context->alpn = alpn_wire_format(settings.alpn);

    SSL_CTX* ssl = context->ssl.get();
    SSL_CTX_set_options(
        ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    // NO_AUTO_CHAIN: what is sent is what stands in cert, not what ca may add to it.
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_timeout(ssl, static_cast<long>(life_.count()));
    SSL_CTX_set_dh_auto(ssl, 1);

    if (auto set = set_ciphers_and_versions(ssl, settings); !set)
        return tl::unexpected(set.error());
    if (auto set = set_groups(ssl, settings.groups); !set) return tl::unexpected(set.error());
    if (auto set = load_certificate(ssl, settings); !set) return tl::unexpected(set.error());
    if (auto set = load_trust(ssl, settings, context->verify.mode, trust); !set) {
        return tl::unexpected(set.error());
    }
    if (auto set = set_alpn(*context); !set) return tl::unexpected(set.error());
    set_verification(ssl, role, context->verify.mode);
    tell_secrets(ssl);
    if (role == Role::client) {
        keep_new_sessions(ssl);
    } else {
        if (SSL_CTX_get0_certificate(ssl) == nullptr && settings.identities.empty()) {
            return failure(EINVAL, "server: no cert was written, and no identity named");
        }
        SSL_CTX_set_tlsext_servername_callback(ssl, accept_any_name);
        // For clients of TLS 1.2 without tickets; all others get tickets.
        SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_SERVER);
        SSL_CTX_sess_set_cache_size(ssl, bounds::kServerSessions);
        limit_sessions(ssl);
        SSL_CTX_set_session_id_context(ssl,
                                       reinterpret_cast<const unsigned char*>(context->id.data()),
                                       SSL_MAX_SID_CTX_LENGTH);
    }
    return context;
}

bool Terms::is_slow() const {
    return std::ranges::any_of(identities,
                               [](const SharedIdentity& identity) { return identity->slow; });
}

Result<> ContextCache::get_identities(const Settings& settings, Role role, uid_t owner,
                                      Terms& terms) {
    if (!settings.cert.empty() || !settings.key.empty()) {
        return failure(EINVAL, "an identity was named, and a cert or key was written");
    }
    for (const std::string& name : settings.identities) {
        auto found = identities_.find(name, role, owner);
        if (!found) return tl::unexpected(found.error());
        terms.identities.push_back(std::move(*found));
    }
    terms.signing.client = &identities_.client();
    terms.signing.role = role;
    terms.signing.owner = owner;
    return {};
}

Result<Terms> ContextCache::get(const Settings& settings, Role role, uid_t owner) {
    Terms terms;
    if (!settings.identities.empty()) {
        if (auto got = get_identities(settings, role, owner, terms); !got) {
            return tl::unexpected(got.error());
        }
    }
    auto context = get_context(settings, role, owner);
    if (!context) return tl::unexpected(context.error());
    terms.context = std::move(*context);
    if (settings.key.empty()) return terms;
    auto key = get_key(settings.key, *terms.context);
    if (!key) return tl::unexpected(key.error());
    terms.key = std::move(*key);
    return terms;
}

Result<ContextCache::ContextPtr> ContextCache::get_context(const Settings& settings, Role role,
                                                           uid_t owner) {
    const bool system_trust = verify_mode(settings, role) == Mode::system;
    const Trust trust = system_trust ? trust_now() : Trust{};
    std::string id = policy_id(settings, role, owner, trust.stamp);
    const auto known = [&]() -> ContextPtr {
        ContextPtr context = find(id);
        if (context) keep(context);
        return context;
    };
    {
        const std::scoped_lock guard(lock_);
        if (auto context = known()) return context;
    }
    auto built = build(settings, role, id, trust);
    if (!built) return tl::unexpected(built.error());
    const std::scoped_lock guard(lock_);
    if (auto context = known()) return context;  // another thread was faster
    std::erase_if(contexts_, [](const auto& entry) { return entry.second.expired(); });
    contexts_[id] = *built;
    keep(*built);
    return *built;
}

// A context's id is the key's, too: so whoever holds one holds the right one.
Result<SharedKey> ContextCache::get_key(const SecretBytes& pem, const TlsContext& context) {
    {
        const std::scoped_lock guard(lock_);
        if (const auto found = keys_.find(context.id); found != keys_.end()) {
            if (SharedKey key = found->second.lock()) return key;
        }
    }
    auto parsed = parse_key(pem);
    if (!parsed) return tl::unexpected(parsed.error());
    SharedKey key(std::move(*parsed));
    ERR_clear_error();
    if (X509_check_private_key(SSL_CTX_get0_certificate(context.ssl.get()), key.get()) != 1) {
        ERR_clear_error();
        return failure(EINVAL, "the key does not fit the certificate");
    }
    const std::scoped_lock guard(lock_);
    std::erase_if(keys_, [](const auto& entry) { return entry.second.expired(); });
    keys_[context.id] = key;
    return key;
}

}  // namespace tlsfs
