// SPDX-License-Identifier: MIT
// One connection of the endpoint: what it was asked to do, and how far it is. Never blocks for
// long; its thread calls it when its socket is ready.
#pragma once

#include <openssl/ssl.h>
#include <sys/epoll.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "../../e2e/programs/pattern.h"
#include "protocol.h"
#include "record_counter.h"
#include "socket.h"
#include "tls.h"

namespace bench {

class EndpointConnection {
 public:
    EndpointConnection(UniqueFd fd, SSL_CTX* context);

    // Goes on as far as it can. False when the connection has ended.
    bool ready();
    // What to wait for now, EPOLLIN or EPOLLOUT.
    [[nodiscard]] std::uint32_t events() const { return events_; }
    [[nodiscard]] int fd() const { return fd_.get(); }

 private:
    using Step = bool (EndpointConnection::*)();

    // Each goes on with one kind of work until the socket would block (true), or it is over.
    bool handshake();
    bool request();
    bool sink();
    bool checked_sink();
    bool prepared();
    bool send();
    bool echo();
    bool http();
    bool drain();

    bool start(const Request& request);
    void prepare(std::uint64_t count);
    void count_sunk(std::uint64_t count);
    void answer(std::span<const char> bytes);
    void answer(char byte) { answer({&byte, 1}); }
    // Bytes read, 0 if it would block; sets ended_.
    std::size_t read(std::span<char> buffer);

    UniqueFd fd_;
    SslPtr ssl_;
    Step step_ = &EndpointConnection::handshake;
    std::uint32_t events_ = EPOLLIN;
    bool ended_ = false;

    std::string text_;  // of a request that is not complete
    Request asked_;
    std::uint64_t sunk_ = 0;
    RecordCounter records_;
    pattern::Checker checker_;
    std::vector<char> prepared_;  // records
    std::size_t sent_ = 0;
};

}  // namespace bench
