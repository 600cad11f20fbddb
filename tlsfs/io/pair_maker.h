// SPDX-License-Identifier: MIT
// Makes connected TCP pairs with given addresses. Lives in the helper process of SocketPairs.
//
// Programs hold sockets of these namespaces and can bind, listen and connect with them. So what is
// handed out is checked: the four numbers of both ends. Where numbers are taken, another namespace
// is tried.
#pragma once

#include <sys/socket.h>

#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"
#include "io/private_net.h"

namespace tlsfs {

struct DataPair {
    UniqueFd ours, programs;
};

class PairMaker {
 public:
    // Leaves the network namespace, for the whole process.
    [[nodiscard]] static Result<PairMaker> start();

    // EINVAL: no TCP connection has these addresses; EAFNOSUPPORT: they are no IP addresses.
    [[nodiscard]] Result<DataPair> make(const sockaddr_storage& local,
                                        const sockaddr_storage& remote);

 private:
    explicit PairMaker(PrivateNet first) { nets_.push_back(std::move(first)); }
    [[nodiscard]] Result<> enter(std::size_t net);
    [[nodiscard]] Result<> enter_new();

    std::vector<PrivateNet> nets_;
    std::size_t current_ = 0;
    std::size_t oldest_ = 0;
};

}  // namespace tlsfs
