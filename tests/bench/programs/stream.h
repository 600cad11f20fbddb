// SPDX-License-Identifier: MIT
// How a program has a connection to the endpoint: the loops that are measured are the same for all,
// and know only this.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "options.h"
#include "protocol.h"

namespace bench {

// An established connection, blocking. What fails ends the program.
class Stream {
 public:
    Stream() = default;
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    virtual ~Stream() = default;

    // One call as the program would make it: some bytes, never none.
    virtual std::size_t read(std::span<char> buffer) = 0;
    // All bytes.
    virtual void write(std::span<const char> bytes) = 0;
    // For poll.
    [[nodiscard]] virtual int descriptor() const = 0;
    // Whether an earlier session was resumed, where this process knows.
    [[nodiscard]] virtual std::optional<bool> resumed() const { return std::nullopt; }
    // Sends `count` bytes of a file; only where the stream is a descriptor.
    virtual void send_file(int file, std::size_t count);
};

class Transport {
 public:
    Transport() = default;
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;
    virtual ~Transport() = default;
    // Thread-safe.
    virtual std::unique_ptr<Stream> open() = 0;
};

// --via plain --port N               a socket to a proxy
// --via tlsfs --port N --mount DIR   data; the machine's trust is the companion's --ca-file
// --via socket --port N --mount DIR  the data socket, likewise
// --via openssl --port N --ca FILE   SSL_read and SSL_write in this process
// --via ktls --port N                kernel TLS on a socket of this process
// and --name NAME, --resume 0|1, --line LINE (more ctl lines, tlsfs).
std::unique_ptr<Transport> make_transport(const Options& options);

std::unique_ptr<Transport> plain_transport(const Options& options);
std::unique_ptr<Transport> tlsfs_transport(const Options& options);
std::unique_ptr<Transport> socket_transport(const Options& options);
std::unique_ptr<Transport> openssl_transport(const Options& options);
std::unique_ptr<Transport> ktls_transport(const Options& options);

// A stream that is a descriptor: a socket, or data.
class FdStream : public Stream {
 public:
    explicit FdStream(int fd) : fd_(fd) {}
    ~FdStream() override;
    std::size_t read(std::span<char> buffer) override;
    void write(std::span<const char> bytes) override;
    [[nodiscard]] int descriptor() const override { return fd_; }
    void send_file(int file, std::size_t count) override;

 private:
    int fd_;
};

void read_exactly(Stream& stream, std::span<char> buffer);
char read_byte(Stream& stream);
void ask(Stream& stream, const Request& request);
// Ends the program unless the next byte is this one.
void expect_byte(Stream& stream, char byte);

}  // namespace bench
