// SPDX-License-Identifier: MIT
#include "keys/service.h"

#include <fmt/format.h>
#include <openssl/bn.h>

#include <limits>
#include <system_error>

#include "core/status.h"
#include "engine/openssl_ptr.h"
#include "engine/wiping_memory.h"

namespace tlsfs::keys {
namespace {

using NumberPtr = std::unique_ptr<BIGNUM, OpensslFree<BN_free>>;

std::vector<Bytes> known_primes() {
    std::vector<Bytes> primes;
    for (const auto make :
         {BN_get_rfc3526_prime_2048, BN_get_rfc3526_prime_3072, BN_get_rfc3526_prime_4096}) {
        const NumberPtr prime(make(nullptr));
        if (!prime) throw std::bad_alloc();
        Bytes bytes(static_cast<std::size_t>(BN_num_bytes(prime.get())));
        BN_bn2bin(prime.get(), bytes.data());
        primes.push_back(std::move(bytes));
    }
    return primes;
}

bool is_tls13(const SignedContent& content) {
    return std::holds_alternative<signed_content::Tls13>(content);
}

// RFC 8446 section 4.2.3: PKCS #1 is not for handshakes.
bool is_scheme_for(const SignOrder& order, const SchemeFacts& scheme) {
    return !is_tls13(order.content) || scheme.kind != SchemeKind::rsa_pkcs1;
}

// The peer is what the companion says, and stands last: it may say anything.
std::string audit_text(uid_t user, const KeptIdentity& identity, Role role, const SignOrder& order,
                       const SchemeFacts& scheme) {
    return fmt::format("user {} identity {} as {}: {}, TLS {}, peer '{}'", user, identity.name,
                       role_word(role), scheme.name, is_tls13(order.content) ? "1.3" : "1.2",
                       order.peer);
}

}  // namespace

KeyService::KeyService(IdentityDirectory& identities, Rules rules, Log& log)
    : identities_(identities),
      rules_(rules),
      log_(log),
      primes_(known_primes()),
      // Twice as many at once; together as many as they like: each processor signs what it can.
      rate_({2 * rules.signatures, rules.signatures}, {1e12, 1e12}) {}

Result<std::shared_ptr<const KeptIdentity>> KeyService::permitted(const KeyRequest& request,
                                                                  uid_t user) {
    auto identity = identities_.find(request.identity);
    if (identity && identity->roles.contains(request.role) && identity->users.allows(user)) {
        return identity;
    }
    return failure(
        ENOENT, fmt::format("not there, or not for user {} as {}", user, role_word(request.role)));
}

Result<Bytes> KeyService::found(const KeyRequest& request, uid_t user) {
    const auto identity = permitted(request, user);
    if (!identity) return tl::unexpected(identity.error());
    const Credential& credential = *(*identity)->credential;
    return encode(FoundIdentity{credential.key->is_slow(), credential.chain});
}

Result<> KeyService::count(uid_t user) {
    const std::scoped_lock guard(lock_);
    if (rate_.admit(user, RateBound::Clock::now())) return {};
    return failure(EDQUOT, fmt::format("user {} has had the signatures of this second", user));
}

Result<KeyService::Order> KeyService::examine(KeyRequest request, uid_t user) {
    auto identity = permitted(request, user);
    if (!identity) return tl::unexpected(identity.error());
    SignOrder& sign = *request.sign;
    Order order{user, request.role, {}, *identity, nullptr, scheme_facts(sign.scheme), {}};
    order.credential = identities_.find_credential(**identity, sign.leaf);
    if (!order.credential) {
        return failure(ESTALE, "it has another certificate by now");
    }
    if (!is_tls13(sign.content) && (*identity)->min_version == TlsVersion::tls13) {
        return failure(EACCES, "it is for TLS 1.3 only");
    }
    if (!is_scheme_for(sign, *order.scheme)) {
        return failure(EINVAL, fmt::format("{} is not for TLS 1.3", order.scheme->name));
    }
    auto content =
        put_together(request.role, sign.content, order.credential->chain.front(), primes_);
    if (!content) return tl::unexpected(content.error());
    if (auto counted = count(user); !counted) return tl::unexpected(counted.error());
    order.content = std::move(*content);
    order.sign = std::move(sign);
    return order;
}

// One line for each, also for one that fails; and none leaves without its line.
Bytes KeyService::sign(const Order& order) {
    const WipeScope key_numbers;
    const std::string text =
        audit_text(order.user, *order.identity, order.role, order.sign, *order.scheme);
    const auto signature = order.credential->sign(*order.scheme, order.content);
    if (!signature) {
        log_.say(LogLevel::error, fmt::format("failed: {}: {}", signature.error().text, text));
        return encode(signature.error());
    }
    if (log_.record(LogLevel::info, "signed: " + text)) return encode_signature(*signature);
    return encode(Error{EIO, "a signature that nobody would hear of: the log takes no line"});
}

bool KeyService::run_in_lane(const std::string& name, Lane::Task task) {
    const std::scoped_lock guard(lock_);
    return lanes_[name].run(std::move(task));
}

void KeyService::carry_out(Order order, const Reply& reply) {
    if (!order.credential->key->is_slow()) return reply(sign(order));
    const std::string name = order.identity->name;
    auto shared = std::make_shared<const Order>(std::move(order));
    if (run_in_lane(name, [this, shared, reply] { reply(sign(*shared)); })) return;
    refuse(shared->user, name, {EBUSY, "too many wait for its token"}, reply);
}

void KeyService::refuse(uid_t user, const std::string& name, const Error& error,
                        const Reply& reply) {
    log_.say_for(user, LogLevel::warning,
                 fmt::format("refused: user {} identity {}: {}", user, name, error.text));
    reply(encode(error));
}

void KeyService::answer(uid_t caller, ByteView message, const Reply& reply) try {
    auto request = parse_key_request(message);
    if (!request) return refuse(caller, "?", request.error(), reply);
    const std::string name = request->identity;
    // Others than root speak for themselves only.
    const uid_t user = caller == 0 ? request->owner : caller;
    if (!request->sign) {
        auto answer = found(*request, user);
        if (!answer) return refuse(user, name, answer.error(), reply);
        return reply(std::move(*answer));
    }
    auto order = examine(std::move(*request), user);
    if (!order) return refuse(user, name, order.error(), reply);
    carry_out(std::move(*order), reply);
} catch (const std::system_error& shortage) {
    refuse(caller, "?", {EAGAIN, shortage.what()}, reply);
}

}  // namespace tlsfs::keys
