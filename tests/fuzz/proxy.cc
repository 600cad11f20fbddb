// SPDX-License-Identifier: MIT
// The header of the PROXY protocol, and the subject of a certificate: no bytes break them, what is
// refused is refused with one line, and addresses that are taken are those that are passed on.
#include "proxy_header.h"

#include "require.h"

using namespace tlsfs::cmd;

namespace {

void check_error(const tlsfs::Error& error) {
    REQUIRE(error.code == EPROTO);
    REQUIRE(!error.text.empty());
    REQUIRE(error.text.find('\n') == std::string::npos);
}

// Addresses of two families have no header that could carry them.
void check_passed_on(const Endpoints& endpoints) {
    const Endpoints plain{without_mapping(endpoints.source),
                          without_mapping(endpoints.destination)};
    if (plain.source.family() != plain.destination.family()) return;
    const std::string again = proxy_header(endpoints, {});
    const auto same = parse_proxy_header(std::string_view(again).substr(0, kProxyStart),
                                         std::string_view(again).substr(kProxyStart));
    REQUIRE(same && *same);
    REQUIRE(address_text((*same)->source) == address_text(plain.source));
    REQUIRE(address_text((*same)->destination) == address_text(plain.destination));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    REQUIRE(common_name(bytes).size() <= size);
    const auto start = bytes.substr(0, kProxyStart);
    const auto rest_size = proxy_rest_size(start);
    if (!rest_size) {
        check_error(rest_size.error());
        return 0;
    }
    REQUIRE(*rest_size <= kMaxProxyRest);
    const auto told = parse_proxy_header(start, bytes.substr(kProxyStart));
    if (!told) {
        check_error(told.error());
    } else if (*told) {
        check_passed_on(**told);
    }
    return 0;
}
