// SPDX-License-Identifier: MIT
#include "attach/server.h"

namespace tlsfs {
namespace {
constexpr dev_t kNoMount = static_cast<dev_t>(-1);
}

Result<std::unique_ptr<AttachServer>> AttachServer::bind(const std::string& path, bool all_users,
                                                         const Policy& policy, Log& log) {
    std::unique_ptr<AttachServer> server(new AttachServer(policy, log));
    auto socket = AttachFront::make_socket();
    if (!socket) return tl::unexpected(socket.error());
    auto bound = BoundPath::bind(socket->get(), path, all_users ? 0666 : 0600);
    if (!bound) return tl::unexpected(bound.error());
    server->path_ = std::move(*bound);
    server->socket_ = std::move(*socket);
    server->companion_.prepare(policy, kNoMount);
    AttachFront::Options options;
    options.all_users = all_users;
    options.data_sockets = server->companion_.has_data_sockets();
    options.engines = [] { return "user " + openssl_version() + "\n"; };
    server->front_ =
        std::make_shared<AttachFront>(server->companion_.reactor(), server->companion_.background(),
                                      server->companion_.registry(), std::move(options));
    return server;
}

Result<> AttachServer::start() {
    companion_.start();
    return front_->listen(std::move(socket_));
}

void AttachServer::stop() {
    if (front_) front_->close();
    path_.reset();
    companion_.stop();
}

}  // namespace tlsfs
