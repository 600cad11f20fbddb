// SPDX-License-Identifier: MIT
#include "engine/pem.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>

#include <cctype>
#include <optional>
#include <string_view>

#include "core/bounds.h"
#include "engine/key_bounds.h"
#include "engine/openssl_error.h"
#include "engine/wiping_memory.h"

namespace tlsfs {
namespace {

std::string_view view(const SecretBytes& pem) {
    return {pem.data(), pem.size()};
}

BioPtr reader(const SecretBytes& pem) {
    return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

bool at_end_of_pem() {
    const unsigned long last = ERR_peek_last_error();
    return ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
}

// Calls `read` until it finds no further block of its kind. A block that is damaged is an error,
// and so is one more than `most`.
template <class Ptr, class Read>
Result<std::vector<Ptr>> read_all(const SecretBytes& pem, const char* what, std::size_t most,
                                  Read read) {
    std::vector<Ptr> found;
    const BioPtr bio = reader(pem);
    ERR_clear_error();
    for (;;) {
        Ptr next(read(bio.get()));
        if (!next) break;
        if (found.size() == most) {
            return failure(EINVAL, fmt::format("{}: more than {} in it", what, most));
        }
        found.push_back(std::move(next));
    }
    const bool clean = at_end_of_pem();
    if (!clean) return tl::unexpected(take_openssl_error(what, EINVAL));
    ERR_clear_error();
    return found;
}

Result<std::vector<X509Ptr>> read_certificates(const SecretBytes& pem, const char* what,
                                               std::size_t most) {
    return read_all<X509Ptr>(pem, what, most, [](BIO* bio) {
        return PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    });
}

// One block of PEM: what it calls itself, and what is in it.
struct Block {
    std::string name;
    bool encrypted = false;
    OpensslMemory<unsigned char> der;
    long size = 0;
};

std::optional<Block> read_block(BIO* bio) {
    char *name = nullptr, *header = nullptr;
    unsigned char* der = nullptr;
    long size = 0;
    if (PEM_read_bio(bio, &name, &header, &der, &size) != 1) return std::nullopt;
    const OpensslMemory<char> owned_name(name), owned_header(header);
    return Block{name, *header != '\0', OpensslMemory<unsigned char>(der), size};
}

// What the key of a PKCS #8 block is for, by the name of its algorithm; empty: it does not say.
std::string algorithm_of(const Block& block) {
    const unsigned char* bytes = block.der.get();
    const Pkcs8Ptr info(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &bytes, block.size));
    const ASN1_OBJECT* algorithm = nullptr;
    if (!info || PKCS8_pkey_get0(&algorithm, nullptr, nullptr, nullptr, info.get()) != 1) return {};
    const int nid = OBJ_obj2nid(algorithm);
    return nid == NID_undef ? std::string() : OBJ_nid2sn(nid);
}

// openssl.cnf may load providers whose "keys" are names of what lies elsewhere, in a token for one.
// A user's text is to mean a key, and nothing else. So it is read in a context of its own, which
// has OpenSSL's default provider and no configuration. (Properties do not do it: OpenSSL 3.0 also
// asks decoders that they rule out.)
OSSL_LIB_CTX* plain_openssl() {
    static OSSL_LIB_CTX* const made = OSSL_LIB_CTX_new();
    return made;
}

KeyPtr decode(const Block& block, const char* structure, const std::string& algorithm) {
    EVP_PKEY* key = nullptr;
    const DecoderPtr decoder(OSSL_DECODER_CTX_new_for_pkey(
        &key, "DER", structure, algorithm.c_str(), EVP_PKEY_KEYPAIR, plain_openssl(), nullptr));
    const unsigned char* bytes = block.der.get();
    auto size = static_cast<std::size_t>(block.size);
    if (decoder) OSSL_DECODER_from_data(decoder.get(), &bytes, &size);
    return KeyPtr(key);
}

// The text names the key's form and algorithm, so nothing is guessed. PEM_read_bio_PrivateKey lets
// every decoder try, which takes longer than a handshake.
Result<KeyPtr> decode_key(const Block& block) {
    if (block.encrypted || block.name == PEM_STRING_PKCS8) {
        return failure(EINVAL,
                       "key: it is encrypted; write it decrypted, it is kept in memory only");
    }
    KeyPtr key;
    if (block.name == PEM_STRING_PKCS8INF) {
        const std::string algorithm = algorithm_of(block);
        if (!algorithm.empty()) key = decode(block, "PrivateKeyInfo", algorithm);
    } else if (block.name == PEM_STRING_ECPRIVATEKEY) {
        key = decode(block, "type-specific", "EC");
    } else if (block.name == PEM_STRING_RSA) {
        key = decode(block, "type-specific", "RSA");
    }
    if (key) return key;
    return tl::unexpected(take_openssl_error("key: it cannot be decoded", EINVAL));
}

bool names_key(const Block& block) {
    return block.name.ends_with("PRIVATE KEY");
}

}  // namespace

Result<Authorities> parse_authorities(const SecretBytes& pem) {
    Authorities authorities;
    auto certificates = read_certificates(pem, "ca", bounds::kAuthorities);
    if (!certificates) return tl::unexpected(certificates.error());
    if (certificates->empty()) return failure(EINVAL, "ca: no certificate in it");
    authorities.certificates = std::move(*certificates);
    auto crls = read_all<CrlPtr>(pem, "ca", bounds::kRevocationLists, [](BIO* bio) {
        return PEM_read_bio_X509_CRL(bio, nullptr, nullptr, nullptr);
    });
    if (!crls) return tl::unexpected(crls.error());
    authorities.crls = std::move(*crls);
    return authorities;
}

Result<std::vector<X509Ptr>> parse_chain(const SecretBytes& pem) {
    auto chain = read_certificates(pem, "cert", bounds::kChain);
    if (chain && chain->empty()) return failure(EINVAL, "cert: no certificate in it");
    return chain;
}

Result<KeyPtr> parse_key(const SecretBytes& pem) {
    const WipeScope decoded_text;
    const BioPtr bio = reader(pem);
    ERR_clear_error();
    auto block = read_block(bio.get());
    while (block && !names_key(*block)) block = read_block(bio.get());
    if (!block) {
        const bool nothing = at_end_of_pem();
        const Error error = take_openssl_error("key", EINVAL);
        if (nothing) return failure(EINVAL, "key: no private key in it");
        return tl::unexpected(error);
    }
    auto key = decode_key(*block);
    ERR_clear_error();
    if (!key) return key;
    if (auto fits = check_own_key(key->get()); !fits) return tl::unexpected(fits.error());
    return key;
}

bool ends_in_block(const SecretBytes& pem) {
    std::string_view text = view(pem);
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
        text.remove_suffix(1);
    }
    if (!text.ends_with("-----")) return false;
    const auto line = text.rfind('\n');
    return text.substr(line == std::string_view::npos ? 0 : line + 1).starts_with("-----END ");
}

std::string to_pem(const std::vector<X509*>& certificates) {
    const BioPtr bio(BIO_new(BIO_s_mem()));
    for (X509* certificate : certificates) PEM_write_bio_X509(bio.get(), certificate);
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : std::string();
}

}  // namespace tlsfs
