// SPDX-License-Identifier: MIT
#include "channel/plain_side.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <tuple>

namespace tlsfs {
namespace {

// While our process lives we say how a stream ends. Should it die, the kernel closes for us, and a
// FIN would look like the peer's close_notify: SO_LINGER with a timeout of 0 makes it a reset. A
// data socket has it from its beginning.
void reset_at_death(int fd) {
    const ::linger at_once{1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

// The receive window that TCP grows to, in bytes; 0 where the socket is no TCP.
std::size_t receive_window(int fd) {
    tcp_info info{};
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
    return info.tcpi_rcv_ssthresh;
}

}  // namespace

PlainSide::PlainSide(Kind kind, ByteStream stream) : kind_(kind), stream_(std::move(stream)) {
    if (kind_ == Kind::given) reset_at_death(stream_.write_fd());
}

Transfer PlainSide::read(std::span<std::byte> into) {
    Transfer got = stream_.read(into);
    switch (got.outcome) {
        case Transfer::Outcome::bytes:
            since_empty_ += got.count;
            break;
        case Transfer::Outcome::would_block:
            since_empty_ = 0;
            break;
        case Transfer::Outcome::end_of_file:
            if (reset_seen_) got = {Transfer::Outcome::failed, 0, ECONNRESET};
            if (reset_seen_) note_reset();
            break;
        case Transfer::Outcome::failed:
            note_reset();
            break;
    }
    return got;
}

// A program that exits with unread input makes its kernel send a reset and drop its send queue.
// There was a send queue only if our window was full; then the last look at our receive queue was a
// window ago. A socketpair has no send queue: what was written is here. Of a descriptor that was
// given we know nothing.
void PlainSide::note_reset() {
    if (kind_ == Kind::file) return;
    complete_ = kind_ == Kind::socket && since_empty_ < receive_window(stream_.read_fd()) / 2;
}

Transfer PlainSide::write(std::span<const std::byte> from) {
    Transfer sent = stream_.write(from);
    if (sent.outcome == Transfer::Outcome::failed && sent.error == ECONNRESET) reset_seen_ = true;
    return sent;
}

auto PlainSide::going() const -> Going {
    Going going = Going::stays;
    for (const int fd : {stream_.read_fd(), stream_.write_fd()}) {
        pollfd entry{fd, 0, 0};
        if (poll(&entry, 1, 0) != 1) continue;
        // A pipe's reading end says POLLHUP at the end of its input, which is a half-close.
        const bool reads_only = !stream_.one_fd() && fd == stream_.read_fd();
        if (reads_only) continue;
        if ((entry.revents & POLLERR) != 0) return Going::broken;
        if ((entry.revents & POLLHUP) != 0) going = Going::closed;
    }
    return going;
}

void PlainSide::end_writing() {
    stream_.end_writing();
}

void PlainSide::discard_input() {
    if (stream_.valid()) std::ignore = stream_.discard_input();
}

void PlainSide::refuse_input() {
    if (kind_ == Kind::file && stream_.valid()) shutdown(stream_.read_fd(), SHUT_RD);
}

bool PlainSide::delivered() const {
    return kind_ == Kind::file || stream_.all_sent();
}

void PlainSide::reset() {
    stream_.reset();
}

}  // namespace tlsfs
