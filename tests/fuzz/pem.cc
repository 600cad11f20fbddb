// SPDX-License-Identifier: MIT
// PEM of unknown origin: refused with EINVAL and one line, or good to the end.
#include "engine/pem.h"

#include <openssl/err.h>

#include "require.h"
#include "support/certificates.h"

using namespace tlsfs;

namespace {

template <class T>
void check(const Result<T>& parsed) {
    REQUIRE(ERR_peek_error() == 0);
    if (parsed) return;
    REQUIRE(parsed.error().code == EINVAL);
    REQUIRE(!parsed.error().text.empty());
    REQUIRE(parsed.error().text.find('\n') == std::string::npos);
}

// @C, @K and @R stand for a certificate, a key and a revocation list, which no fuzzer would find.
std::string expand(std::string_view input) {
    static const test::Certificate made = test::make_authority();
    static const std::string certificate = made.pem(), key = made.key_pem(),
                             crl = make_crl(made, &made);
    std::string text;
    for (std::size_t i = 0; i < input.size(); ++i) {
        const auto mark = input.substr(i, 2);
        if (mark == "@C") text += certificate;
        if (mark == "@K") text += key;
        if (mark == "@R") text += crl;
        if (mark == "@C" || mark == "@K" || mark == "@R") {
            ++i;
        } else if (mark.size() == 2 && mark[0] == '@' && !text.empty()) {
            text[static_cast<unsigned char>(mark[1]) * text.size() / 256] ^=
                1;  // damaged somewhere
        } else {
            text += input[i];
        }
    }
    return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const SecretBytes pem = test::secret(expand({reinterpret_cast<const char*>(data), size}));
    (void)ends_in_block(pem);
    const auto key = parse_key(pem);
    check(key);
    if (key) REQUIRE(*key != nullptr);
    const auto authorities = parse_authorities(pem);
    check(authorities);
    if (authorities) REQUIRE(!authorities->certificates.empty());
    const auto chain = parse_chain(pem);
    check(chain);
    if (!chain) return 0;
    REQUIRE(!chain->empty());
    std::vector<X509*> all;
    for (const X509Ptr& certificate : *chain) all.push_back(certificate.get());
    const std::string written = to_pem(all);
    const auto again = parse_chain({written.begin(), written.end()});
    REQUIRE(again && again->size() == all.size());
    return 0;
}
