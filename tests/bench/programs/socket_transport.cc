// SPDX-License-Identifier: MIT
// The data socket as a program has it: one call of the library, which finds the companion by
// $TLSFS.
#include <cstdlib>
#include <tlsclient.hpp>

#include "fail.h"
#include "socket.h"
#include "stream.h"

namespace bench {
namespace {

class SocketTransport final : public Transport {
 public:
    explicit SocketTransport(const Options& options)
        : port_(static_cast<std::uint16_t>(options.number("port"))) {
        client_.name = options.text("name");
        client_.session_cache = options.number("resume", 1) != 0;
        setenv("TLSFS", options.text("mount").c_str(), 1);
    }

    std::unique_ptr<Stream> open() override {
        const UniqueFd transport = connect_to(port_);
        tlsfs::Failure why;
        auto connection = tlsfs::client(tlsfs::Transport::stream(transport.get()), client_, why);
        if (!connection) {
            errno = why.code;
            fail(why.text);
        }
        return std::make_unique<FdStream>(connection->release());
    }

 private:
    std::uint16_t port_;
    tlsfs::ClientOptions client_;
};

}  // namespace

std::unique_ptr<Transport> socket_transport(const Options& options) {
    return std::make_unique<SocketTransport>(options);
}

}  // namespace bench
