// SPDX-License-Identifier: MIT
#include "socket.h"
#include "stream.h"

namespace bench {
namespace {

class PlainTransport final : public Transport {
 public:
    explicit PlainTransport(const Options& options)
        : port_(static_cast<std::uint16_t>(options.number("port"))) {}
    std::unique_ptr<Stream> open() override {
        return std::make_unique<FdStream>(connect_to(port_).release());
    }

 private:
    std::uint16_t port_;
};

}  // namespace

std::unique_ptr<Transport> plain_transport(const Options& options) {
    return std::make_unique<PlainTransport>(options);
}

}  // namespace bench
