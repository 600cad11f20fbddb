// SPDX-License-Identifier: MIT
#include "endpoint_connection.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "fail.h"

namespace bench {
namespace {

constexpr std::size_t kRecord = 16384, kReceive = 256 << 10, kSend = 1 << 20;

// One a thread: nothing stays in it between two calls.
std::span<char> scratch() {
    thread_local std::vector<char> buffer(kReceive);
    return buffer;
}

// What a BIO needs to write into a vector: a memory BIO would copy everything each time it grows.
int append(BIO* bio, const char* data, int size) {
    auto* out = static_cast<std::vector<char>*>(BIO_get_data(bio));
    out->insert(out->end(), data, data + size);
    return size;
}

long control(BIO*, int command, long, void*) {
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO* new_appender(std::vector<char>* out) {
    static BIO_METHOD* const method = [] {
        BIO_METHOD* made = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "appender");
        BIO_meth_set_write(made, append);
        BIO_meth_set_ctrl(made, control);
        return made;
    }();
    BIO* bio = BIO_new(method);
    BIO_set_data(bio, out);
    BIO_set_init(bio, 1);
    return bio;
}

constexpr std::string_view kPage =
    "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n"
    "Connection: close\r\n\r\n";

std::string page() {
    std::string text(kPage);
    for (int i = 0; i < 1024; ++i) text += i % 64 == 63 ? '\n' : static_cast<char>('a' + i % 26);
    return text;
}

}  // namespace

EndpointConnection::EndpointConnection(UniqueFd fd, SSL_CTX* context)
    : fd_(std::move(fd)), ssl_(SSL_new(context)) {
    set_nodelay(fd_.get());
    SSL_set_fd(ssl_.get(), fd_.get());
    SSL_set_accept_state(ssl_.get());
}

bool EndpointConnection::ready() {
    Step before = nullptr;
    while (!ended_ && step_ != before) {
        before = step_;
        events_ = EPOLLIN;
        if (!(this->*step_)()) return false;
    }
    return !ended_;
}

std::size_t EndpointConnection::read(std::span<char> buffer) {
    std::size_t count = 0;
    ERR_clear_error();
    if (SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &count) == 1) return count;
    if (SSL_get_error(ssl_.get(), 0) != SSL_ERROR_WANT_READ) ended_ = true;
    return 0;
}

// Answers are small or are echoes of a client that waits for them: they fit into the socket's
// buffer, and where they do not, waiting for once does no harm.
void EndpointConnection::answer(std::span<const char> bytes) {
    std::size_t count = 0;
    ERR_clear_error();
    while (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &count) != 1) {
        if (SSL_get_error(ssl_.get(), 0) != SSL_ERROR_WANT_WRITE) {
            ended_ = true;
            return;
        }
        pollfd descriptor{fd_.get(), POLLOUT, 0};
        poll(&descriptor, 1, 1000);
    }
}

bool EndpointConnection::handshake() {
    ERR_clear_error();
    const int outcome = SSL_do_handshake(ssl_.get());
    if (outcome != 1) return SSL_get_error(ssl_.get(), outcome) == SSL_ERROR_WANT_READ;
    if (!is_as_agreed(ssl_.get())) {
        std::fprintf(stderr, "endpoint: a connection has %s\n", SSL_get_cipher_name(ssl_.get()));
        return false;
    }
    step_ = &EndpointConnection::request;
    return true;
}

bool EndpointConnection::request() {
    std::array<char, sizeof(Request)> buffer{};
    while (text_.size() < buffer.size()) {
        const std::size_t count = read(std::span(buffer).first(buffer.size() - text_.size()));
        if (count == 0) return true;
        text_.append(buffer.data(), count);
    }
    if (text_.starts_with("GET ")) {
        step_ = &EndpointConnection::http;
        return true;
    }
    Request request;
    std::memcpy(&request, text_.data(), sizeof request);
    text_.clear();
    return start(request);
}

bool EndpointConnection::start(const Request& request) {
    asked_ = request;
    switch (request.verb) {
        case kSink:
        case kCheckedSink:
            sunk_ = 0;
            answer(kGo);
            step_ = request.verb == kSink ? &EndpointConnection::sink
                                          : &EndpointConnection::checked_sink;
            return true;
        case kSource:
            prepare(request.count);
            step_ = &EndpointConnection::prepared;
            return true;
        case kEcho:
            SSL_set_read_ahead(ssl_.get(), 1);
            step_ = &EndpointConnection::echo;
            return true;
        case kHello:
            answer(SSL_session_reused(ssl_.get()) != 0 ? kResumed : kFull);
            step_ = &EndpointConnection::drain;
            return true;
        default:
            return false;
    }
}

void EndpointConnection::count_sunk(std::uint64_t count) {
    const std::uint64_t before = sunk_;
    sunk_ += count;
    if (asked_.block == 0) {
        if (before < asked_.count && sunk_ >= asked_.count) answer(kDone);
        return;
    }
    for (auto n = before / asked_.block; n < sunk_ / asked_.block; ++n) answer(kDone);
}

// Nothing that TLS has read is lost here: the client waits for kGo before it sends.
bool EndpointConnection::sink() {
    const std::span<char> buffer = scratch();
    const ssize_t count = recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count == 0) return false;
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    count_sunk(records_.take(
        {reinterpret_cast<const unsigned char*>(buffer.data()), static_cast<std::size_t>(count)}));
    return true;
}

bool EndpointConnection::checked_sink() {
    const std::span<char> buffer = scratch().first(kRecord);
    while (const std::size_t count = read(buffer)) {
        if (!checker_.accept(buffer.first(count))) {
            answer(kWrong);
            step_ = &EndpointConnection::drain;
            return true;
        }
        count_sunk(count);
    }
    return true;
}

// kGo is encrypted before what follows it, as records have an order, and sent when all is ready.
void EndpointConnection::prepare(std::uint64_t count) {
    prepared_.clear();
    prepared_.reserve(count + (count / kRecord + 2) * 64);
    BIO* const to_socket = SSL_get_wbio(ssl_.get());
    BIO_up_ref(to_socket);
    SSL_set0_wbio(ssl_.get(), new_appender(&prepared_));
    answer(kGo);
    const std::size_t go = prepared_.size();
    std::array<char, kRecord> plain{};
    for (std::uint64_t done = 0; done < count; done += kRecord) {
        const auto piece = std::span(plain).first(std::min<std::uint64_t>(kRecord, count - done));
        pattern::fill(done, piece);
        answer(piece);
    }
    SSL_set0_wbio(ssl_.get(), to_socket);
    if (::send(fd_.get(), prepared_.data(), go, MSG_NOSIGNAL) != static_cast<ssize_t>(go))
        ended_ = true;
    sent_ = go;
}

bool EndpointConnection::prepared() {
    char byte = 0;
    if (read({&byte, 1}) == 1) step_ = &EndpointConnection::send;
    return true;
}

bool EndpointConnection::send() {
    while (sent_ < prepared_.size()) {
        const std::size_t size = std::min(prepared_.size() - sent_, kSend);
        const ssize_t count =
            ::send(fd_.get(), prepared_.data() + sent_, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN) {
            events_ = EPOLLOUT;
            return true;
        }
        if (count < 0) return false;
        sent_ += static_cast<std::size_t>(count);
    }
    prepared_ = {};
    step_ = &EndpointConnection::request;
    return true;
}

bool EndpointConnection::echo() {
    const std::span<char> buffer = scratch().first(kRecord);
    while (const std::size_t count = read(buffer)) answer(buffer.first(count));
    return true;
}

bool EndpointConnection::http() {
    const std::span<char> buffer = scratch().first(kRecord);
    while (!text_.ends_with("\r\n\r\n")) {
        const std::size_t count = read(buffer);
        if (count == 0) return true;
        text_.append(buffer.data(), count);
    }
    static const std::string text = page();
    answer(text);
    SSL_shutdown(ssl_.get());
    step_ = &EndpointConnection::drain;
    return true;
}

bool EndpointConnection::drain() {
    const std::span<char> buffer = scratch();
    const ssize_t count = recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    return count > 0 || (count < 0 && errno == EAGAIN);
}

}  // namespace bench
