// SPDX-License-Identifier: MIT
// Kernel TLS without the module: the program does the handshake and sets the keys on its socket.
// The endpoint must send no tickets, because such a socket cannot read past them.
#include "fail.h"
#include "socket.h"
#include "stream.h"

extern "C" {
#include "../../vm/ktls.h"
}

namespace bench {
namespace {

class KtlsTransport final : public Transport {
 public:
    explicit KtlsTransport(const Options& options)
        : port_(static_cast<std::uint16_t>(options.number("port"))), name_(options.text("name")) {}

    std::unique_ptr<Stream> open() override {
        UniqueFd fd = connect_to(port_);
        ktls handshake{};
        handshake.fd = fd.get();
        handshake.version = TLS1_3_VERSION;
        handshake.name = name_.c_str();
        handshake.seconds = 60;
        if (ktls_handshake(&handshake) != 0) fail("kernel TLS");
        return std::make_unique<FdStream>(fd.release());
    }

 private:
    std::uint16_t port_;
    std::string name_;
};

}  // namespace

std::unique_ptr<Transport> ktls_transport(const Options& options) {
    return std::make_unique<KtlsTransport>(options);
}

}  // namespace bench
