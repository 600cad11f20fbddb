// SPDX-License-Identifier: MIT
// Data sockets: connected TCP pairs that have any addresses we like.
//
// A helper process lives in a network namespace of its own, where every address is local, and makes
// them; see pair_maker.h. It gets nothing from us but addresses, and has no other descriptor.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>

#include "core/result.h"
#include "core/unique_fd.h"
#include "io/pair_maker.h"

namespace tlsfs {

class SocketPairs {
 public:
    // Forks the helper: to be called while there is one thread. EOPNOTSUPP and the reason where no
    // namespace can be made.
    [[nodiscard]] static Result<std::unique_ptr<SocketPairs>> start();
    SocketPairs(const SocketPairs&) = delete;
    SocketPairs& operator=(const SocketPairs&) = delete;
    ~SocketPairs();

    // From any thread; takes about as long as a system call or two, and never longer than some
    // seconds. EOPNOTSUPP: the helper is gone. EINVAL, EAFNOSUPPORT: no TCP connection has these
    // addresses. EMFILE: we have no descriptors left.
    //
    // The program's end is blocking, has getsockname(2) `local` and getpeername(2) `remote`, and
    // TCP_LINGER2 = -1: its last close is told from its half-close. It has the zone index of a
    // link-local address too where the helper can make a device of that index, and the loopback's
    // (1) otherwise.
    //
    // Our end is nonblocking and has SO_LINGER {1, 0}: closing it in mid-stream, as a crash does,
    // is a reset. To leave what it has sent to the kernel, switch that off before closing.
    //
    // Both are close-on-exec and have TCP_NODELAY. Our end can receive more than the program's can
    // have under way, unless /proc/sys is read-only.
    [[nodiscard]] Result<DataPair> make(const sockaddr_storage& local,
                                        const sockaddr_storage& remote);
    // For a transport that is no TCP socket: 127.0.0.1 and ports that are free.
    [[nodiscard]] Result<DataPair> make();

 private:
    SocketPairs(pid_t helper, UniqueFd channel) : helper_(helper), channel_(std::move(channel)) {}
    [[nodiscard]] Result<> await_helper();
    void end_helper();

    std::mutex lock_;  // guards all below
    pid_t helper_;
    UniqueFd channel_;
};

}  // namespace tlsfs
