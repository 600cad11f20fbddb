// SPDX-License-Identifier: MIT
#include "stream.h"

#include <sys/sendfile.h>
#include <unistd.h>

#include "fail.h"

namespace bench {

void Stream::send_file(int, std::size_t) {
    errno = EOPNOTSUPP;
    fail("sendfile");
}

FdStream::~FdStream() {
    ::close(fd_);
}

std::size_t FdStream::read(std::span<char> buffer) {
    const ssize_t count = ::read(fd_, buffer.data(), buffer.size());
    if (count <= 0) fail(count == 0 ? "the stream ended" : "read");
    return static_cast<std::size_t>(count);
}

void FdStream::write(std::span<const char> bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::write(fd_, bytes.data(), bytes.size());
        if (count < 0) fail("write");
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
}

void FdStream::send_file(int file, std::size_t count) {
    off_t offset = 0;
    while (static_cast<std::size_t>(offset) < count)
        if (sendfile(fd_, file, &offset, count - static_cast<std::size_t>(offset)) <= 0)
            fail("sendfile");
}

void read_exactly(Stream& stream, std::span<char> buffer) {
    while (!buffer.empty()) buffer = buffer.subspan(stream.read(buffer));
}

char read_byte(Stream& stream) {
    char byte = 0;
    read_exactly(stream, {&byte, 1});
    return byte;
}

void ask(Stream& stream, const Request& request) {
    stream.write({reinterpret_cast<const char*>(&request), sizeof request});
}

void expect_byte(Stream& stream, char byte) {
    const char got = read_byte(stream);
    if (got == byte) return;
    errno = got == kWrong ? EBADMSG : EPROTO;
    fail("the endpoint's answer");
}

std::unique_ptr<Transport> make_transport(const Options& options) {
    const std::string via = options.text("via");
    if (via == "plain") return plain_transport(options);
    if (via == "tlsfs") return tlsfs_transport(options);
    if (via == "socket") return socket_transport(options);
    if (via == "openssl") return openssl_transport(options);
    if (via == "ktls") return ktls_transport(options);
    errno = EINVAL;
    fail("--via " + via);
}

}  // namespace bench
