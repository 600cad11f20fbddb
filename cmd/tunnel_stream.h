// SPDX-License-Identifier: MIT
// Relays between an established TLS connection and a plain socket, both ways.
//
// How each end of the one side becomes an end of the other:
//
//     plain                                   TLS
//     FIN                                 ->  close_notify; the other direction goes on
//     reset, or it takes no more          ->  hangup: the stream is cut, and looks so
//     FIN; the other direction goes on   <-   close_notify
//     reset                              <-   cut short, broken, or it takes no more
//     reset                              <-   break_off()  ->  hangup
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <span>

#include "core/unique_fd.h"
#include "tlsclient.hpp"
#include "waiting.h"

namespace tlsfs::cmd {

// Has the close of a TCP socket send RST. A plain socket of a tunnel is one from its beginning,
// until its stream has ended as it should: so nothing that ends the tunnel looks like the stream's
// end.
void reset_at_close(int socket_fd, bool reset);

class TunnelStream {
 public:
    // `called_off` wakes whoever waits; it may be set already, and outlives this.
    TunnelStream(Connection tls, UniqueFd plain, Event& called_off) noexcept;

    // Relays until both directions have ended, in this thread and one more. Returns why the stream
    // was cut, if it was.
    [[nodiscard]] Failure run();

    // Cuts the stream both ways, from any thread; run() returns then. The first cause counts.
    void break_off(Failure why);

    // Since when no byte has moved.
    [[nodiscard]] Deadline last_moved() const { return last_moved_; }

 private:
    class Buffer;

    void carry(void (TunnelStream::*direction)(Buffer&), Buffer& buffer);
    void plain_to_tls(Buffer& buffer);
    void tls_to_plain(Buffer& buffer);
    [[nodiscard]] ssize_t receive_plain(std::span<char> buffer) const;
    [[nodiscard]] bool send_plain(std::span<const char> bytes);
    [[nodiscard]] ssize_t send_once(std::span<const char> bytes);
    [[nodiscard]] bool is_plain_broken();
    [[nodiscard]] bool wait_for_plain(short events) const;
    void note(Failure why);

    Connection tls_;
    UniqueFd plain_;
    Event& called_off_;
    std::atomic<Deadline> last_moved_;
    std::mutex lock_;
    Failure why_;  // guarded by lock_
    std::mutex sending_;
    bool plain_broken_ = false;  // guarded by sending_
};

}  // namespace tlsfs::cmd
