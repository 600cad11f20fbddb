// SPDX-License-Identifier: MIT
// A connected stream, of records or of plaintext: a socket, a pair of pipes, a terminal.
// All calls return at once; the open file descriptions, which the caller shares, keep their flags.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "core/result.h"
#include "core/unique_fd.h"

namespace tlsfs {

// What one attempt at I/O came to.
struct Transfer {
    enum class Outcome : std::uint8_t { bytes, would_block, end_of_file, failed };
    Outcome outcome = Outcome::would_block;
    std::size_t count = 0;  // with `bytes`: at least 1
    int error = 0;          // with `failed`: an errno
};

class ByteStream {
 public:
    ByteStream() = default;
    ByteStream(ByteStream&&) = default;
    ByteStream& operator=(ByteStream&& other) noexcept {
        forbid_lingering();
        read_ = std::move(other.read_);
        write_ = std::move(other.write_);
        pair_ = other.pair_;
        return *this;
    }
    ByteStream(const ByteStream&) = delete;
    ByteStream& operator=(const ByteStream&) = delete;
    ~ByteStream() { forbid_lingering(); }

    // Takes both descriptors (`write` invalid: `read` serves both ways) if they are a connected
    // stream. EOPNOTSUPP where they are none; ELOOP where one is a file on `own_mount`. A refused
    // descriptor stays with the caller: closing one that lies on the own mount may ask this very
    // process for an answer.
    [[nodiscard]] static Result<ByteStream> adopt(UniqueFd& read, UniqueFd& write, dev_t own_mount);
    // A connected socket that this process made.
    [[nodiscard]] static ByteStream own_socket(UniqueFd socket);

    [[nodiscard]] bool valid() const { return read_.fd.valid(); }
    [[nodiscard]] int read_fd() const { return read_.fd.get(); }
    [[nodiscard]] int write_fd() const { return one_fd() ? read_fd() : write_.fd.get(); }
    [[nodiscard]] bool one_fd() const { return !pair_; }

    [[nodiscard]] Transfer read(std::span<std::byte> into);
    // `more`: the rest follows at once, so TCP may wait for it to fill a packet.
    [[nodiscard]] Transfer write(std::span<const std::byte> from, bool more = false);

    // Gives up the one descriptor that serves both ways.
    [[nodiscard]] UniqueFd release() { return std::move(read_.fd); }

    // Ends the writing half: a socket's by shutdown(2), a pipe's by closing it. A terminal has
    // none.
    void end_writing();
    // Closes, and where that is a TCP socket, with a reset instead of a FIN.
    void reset();

    // True when nothing that was written is still on its way from this machine. TCP: all was
    // acknowledged, or never will be; elsewhere: at once.
    [[nodiscard]] bool all_delivered() const;
    // True when the kernel has sent all of it at least once.
    [[nodiscard]] bool all_sent() const;
    // Reads and forgets what has arrived, so that closing sends FIN and not RST (RFC 2525 2.17).
    // True when the end of the input was among it.
    bool discard_input();

    // The addresses as ADDRESS:PORT, [ADDRESS]:PORT, a path, or empty where there are none.
    [[nodiscard]] std::string local() const;
    [[nodiscard]] std::string remote() const;
    // Both addresses of a TCP socket.
    struct Addresses {
        sockaddr_storage local, remote;
    };
    [[nodiscard]] std::optional<Addresses> tcp_addresses() const;
    // The peer's bare IP address, or empty.
    [[nodiscard]] std::string remote_ip() const;

 private:
    enum class Kind : std::uint8_t {
        socket,       // MSG_DONTWAIT makes every call nonblocking
        nonblocking,  // our own open file description, O_NONBLOCK
        shared,       // the caller's, perhaps blocking: asked by poll(2) before each small step
    };
    struct End {
        UniqueFd fd;
        Kind kind = Kind::socket;
    };

    void forbid_lingering() const;
    static Result<End> open_end(UniqueFd& fd, int access, dev_t own_mount);
    End& write_end() { return one_fd() ? read_ : write_; }

    End read_, write_;
    bool pair_ = false;  // two descriptors; write_ is then closed by end_writing()
};

}  // namespace tlsfs
