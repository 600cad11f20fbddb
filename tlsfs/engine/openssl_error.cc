// SPDX-License-Identifier: MIT
#include "engine/openssl_error.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>

#include <algorithm>
#include <array>

#include "engine/alert.h"

namespace tlsfs {
namespace {

struct Reason {
    int reason;
    int code;
    std::string_view text;
};

// Those that the contract tells apart. All other reasons of libssl are EPROTO.
constexpr std::array kReasons{
    Reason{SSL_R_UNEXPECTED_EOF_WHILE_READING, ECONNRESET,
           "the transport ended without close_notify"},
    Reason{SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, EBADMSG, "a record failed authentication"},
    Reason{SSL_R_DECRYPTION_FAILED, EBADMSG, "a record failed authentication"},
    Reason{SSL_R_WRONG_VERSION_NUMBER, EPROTO, "the peer does not speak TLS"},
    Reason{SSL_R_HTTP_REQUEST, EPROTO, "the peer does not speak TLS, but HTTP"},
    Reason{SSL_R_HTTPS_PROXY_REQUEST, EPROTO, "the peer does not speak TLS, but HTTP"},
    Reason{ERR_R_ASN1_LIB, EPROTO, "the peer's certificate cannot be decoded"},
    Reason{SSL_R_RECORD_TOO_SMALL, EPROTO, "too many empty records"},
    Reason{SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, EKEYREJECTED, "the client sent no certificate"},
};

// libssl reports a fatal alert of the peer as this reason plus the alert's number.
bool is_alert(int reason) {
    return reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256;
}

Error from_ssl_reason(const std::string& what, unsigned long packed) {
    const int reason = ERR_GET_REASON(packed);
    if (is_alert(reason)) {
        const int alert = reason - SSL_AD_REASON_OFFSET;
        return {EPROTO,
                fmt::format("{}: the peer sent alert {} ({})", what, alert_name(alert), alert)};
    }
    const auto known = std::ranges::find(kReasons, reason, &Reason::reason);
    if (known != kReasons.end()) return {known->code, fmt::format("{}: {}", what, known->text)};
    const char* text = ERR_reason_error_string(packed);
    return {EPROTO, fmt::format("{}: {}", what, text != nullptr ? text : "protocol error")};
}

// Since 3.2 libssl puts this behind the record layer's own reason.
bool is_record_layer_failure([[maybe_unused]] unsigned long packed) {
#ifdef SSL_R_RECORD_LAYER_FAILURE
    return ERR_GET_LIB(packed) == ERR_LIB_SSL &&
           ERR_GET_REASON(packed) == SSL_R_RECORD_LAYER_FAILURE;
#else
    return false;
#endif
}

// Empties the queue. The newest error is the one nearest to what was called.
unsigned long take_newest_error() {
    unsigned long newest = 0;
    while (const unsigned long packed = ERR_get_error()) {
        if (newest == 0 || !is_record_layer_failure(packed)) newest = packed;
    }
    return newest;
}

}  // namespace

Error take_openssl_error(const std::string& what, int otherwise) {
    const unsigned long packed = take_newest_error();
    if (ERR_GET_LIB(packed) == ERR_LIB_SSL) {
        Error error = from_ssl_reason(what, packed);
        if (error.code == EPROTO && otherwise == EINVAL) error.code = EINVAL;
        return error;
    }
    const char* text = packed == 0 ? nullptr : ERR_reason_error_string(packed);
    return {otherwise, text == nullptr ? what : fmt::format("{}: {}", what, text)};
}

}  // namespace tlsfs
