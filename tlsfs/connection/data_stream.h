// SPDX-License-Identifier: MIT
// The file `data`: requests to read, write and poll, served from one end of a socketpair whose
// other end is the plain side of the connection's relay.
//
// A request that cannot be answered yet is parked, in the order of its coming. Nothing waits for
// events here: whatever changes on the pair is the relay's doing, and it says so (plain_moved()).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "connection/answers.h"
#include "connection/request.h"
#include "core/unique_fd.h"

namespace tlsfs {

class DataStream {
 public:
    // What is behind the stream. Called without a lock of ours.
    struct Backend {
        Backend() = default;
        Backend(const Backend&) = delete;
        Backend& operator=(const Backend&) = delete;
        virtual ~Backend() = default;
        virtual void relay() = 0;  // bytes were put in or taken out
        // How the stream ended: 0 by close_notify, or an errno.
        [[nodiscard]] virtual int end_code() = 0;
        [[nodiscard]] virtual int write_code() = 0;  // why nothing can be written any more
    };

    // `end`: a nonblocking AF_UNIX stream socket. `backend` outlives this.
    DataStream(UniqueFd end, Backend& backend) : end_(std::move(end)), backend_(backend) {}

    void read(std::unique_ptr<ReadRequest> request);
    void write(std::unique_ptr<WriteRequest> request);
    // POLLIN, POLLOUT … as they are now. The poller is kept until one of `wanted` has come.
    [[nodiscard]] std::uint32_t poll(const void* file, std::uint32_t wanted,
                                     std::unique_ptr<Poller> poller);
    void forget_poller(const void* file);

    void moved();        // the relay has put bytes in, taken some out, or ended
    void signalled();    // answers every parked request whose caller was interrupted
    void end_writing();  // `close`: what is parked is EPIPE, and so is what comes
    // Everybody who waits gets `code`, and whoever comes what the backend says.
    void fail(int code);

 private:
    struct ParkedWrite {
        std::unique_ptr<WriteRequest> request;
        std::vector<std::byte> rest;
    };
    struct Polling {
        const void* file;      // one poller an open file
        std::uint32_t wanted;  // errors and the end are always wanted
        std::unique_ptr<Poller> poller;
    };

    // All below need lock_.
    [[nodiscard]] bool serve_writers(Answers& answers);
    [[nodiscard]] std::size_t parked_bytes() const;
    static void answer_interrupted(ParkedWrite& parked, Answers& answers);
    void wake_pollers(Answers& answers);
    [[nodiscard]] std::uint32_t events() const;
    void forget_poller_locked(const void* file);

    void serve_readers();

    const UniqueFd end_;
    Backend& backend_;

    std::mutex lock_;  // guards all below
    std::deque<std::unique_ptr<ReadRequest>> readers_;
    std::deque<ParkedWrite> writers_;
    std::vector<Polling> pollers_;
    bool serving_ = false;  // a thread answers readers, one after the other
};

}  // namespace tlsfs
