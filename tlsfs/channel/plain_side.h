// SPDX-License-Identifier: MIT
// The plain side of a connection, tls(4): the descriptor that carries the plaintext.
#pragma once

#include <cstdint>

#include "io/byte_stream.h"

namespace tlsfs {

class PlainSide {
 public:
    enum class Kind : std::uint8_t {
        file,    // one end of a socketpair; the file `data` is served from the other
        socket,  // our end of a data socket (io/socket_pairs)
        given,   // a descriptor of the caller's, `plain N`
    };

    PlainSide() = default;
    // `file` and `socket`: a nonblocking socket of our own; that of `socket` comes from
    // io/socket_pairs.
    PlainSide(Kind kind, ByteStream stream);

    [[nodiscard]] Kind kind() const { return kind_; }
    [[nodiscard]] bool valid() const { return stream_.valid(); }
    ByteStream& stream() { return stream_; }
    [[nodiscard]] const ByteStream& stream() const { return stream_; }

    [[nodiscard]] Transfer read(std::span<std::byte> into);
    [[nodiscard]] Transfer write(std::span<const std::byte> from);

    // Whether the program has closed its end, so that there is nobody to deliver to; broken: after
    // we had sent it what it had not read. Asks the kernel, so only where an event or an error
    // suggests it.
    enum class Going : std::uint8_t { stays, closed, broken };
    [[nodiscard]] Going going() const;

    // After read() failed or ended: everything that the program wrote has arrived here. False where
    // a reset may have thrown away what the program's kernel still held.
    [[nodiscard]] bool complete() const { return complete_; }

    // Nothing more will be written: the program reads 0.
    void end_writing();
    // Nothing more will be read: the program's next write fails, where that can be had (not on
    // TCP).
    void refuse_input();

    // Takes what the program has written so far, and drops it.
    void discard_input();

    // True when all that was written is in the program's receive queue.
    [[nodiscard]] bool delivered() const;
    // The program reads ECONNRESET where the descriptor can say that. Closes.
    void reset();
    void close() { stream_ = ByteStream(); }

 private:
    void note_reset();

    Kind kind_ = Kind::file;
    ByteStream stream_;
    std::size_t since_empty_ = 0;  // bytes read since the receive queue was last seen empty
    bool reset_seen_ = false;      // a write met ECONNRESET, which the next read would not repeat
    bool complete_ = true;
};

}  // namespace tlsfs
