// SPDX-License-Identifier: MIT
// The other end of TLS, in plain OpenSSL: fast enough for gigabytes, and able to change keys in
// their midst.
//
//     tlspeer server CERT KEY --listen    echo, a thread a connection; prints "port N"
//     tlspeer server CERT KEY --fd N [transfer options]
//     tlspeer client CA NAME  --fd N [transfer options]
//
// Transfer options: --send BYTES and --expect BYTES of a pattern; --update EVERY sends a KeyUpdate
// after so many bytes sent, --request asks the peer for its own each time. It ends with
// close_notify when it has sent and got everything (with --patient: when the peer has ended), reads
// to the peer's end, prints "updates N" (KeyUpdates received), and exits 0 when all was as it
// should be.

#include "pattern.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

namespace {

std::atomic<unsigned> updates_received{0};

void count_updates(int is_write, int, int type, const void* bytes, std::size_t size, SSL*, void*) {
    const bool update = type == SSL3_RT_HANDSHAKE && size > 0 &&
                        static_cast<const unsigned char*>(bytes)[0] == SSL3_MT_KEY_UPDATE;
    if (update && !is_write) ++updates_received;
}

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "tlspeer: %s: %s\n", what, std::strerror(errno));
    ERR_print_errors_fp(stderr);
    std::exit(1);
}

struct Options {
    bool server = false, listen = false, request = false, patient = false;
    int fd = -1;
    const char* name = nullptr;
    std::uint64_t send = 0, expect = 0, update = 0;
};

SSL_CTX* context_for(bool server, const char* first, const char* second) {
    SSL_CTX* context = SSL_CTX_new(TLS_method());
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_msg_callback(context, count_updates);
    if (server) {
        if (SSL_CTX_use_certificate_chain_file(context, first) != 1) fail(first);
        if (SSL_CTX_use_PrivateKey_file(context, second, SSL_FILETYPE_PEM) != 1) fail(second);
    } else {
        if (SSL_CTX_load_verify_locations(context, first, nullptr) != 1) fail(first);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    }
    return context;
}

SSL* connection_for(SSL_CTX* context, int fd, const Options& options) {
    SSL* ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    if (options.server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_tlsext_host_name(ssl, options.name);
        SSL_set1_host(ssl, options.name);
        SSL_set_connect_state(ssl);
    }
    return ssl;
}

void echo(SSL* ssl) {
    std::vector<char> buffer(1 << 16);
    std::size_t got = 0, put = 0;
    while (SSL_read_ex(ssl, buffer.data(), buffer.size(), &got) == 1)
        for (std::size_t at = 0; at < got; at += put)
            if (SSL_write_ex(ssl, buffer.data() + at, got - at, &put) != 1) return;
    SSL_shutdown(ssl);
}

[[noreturn]] void serve(SSL_CTX* context, const Options& options) {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(listener, 4096) != 0)
        fail("listen");
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    std::printf("port %d\n", ntohs(address.sin_port));
    std::fflush(stdout);
    for (;;) {
        const int fd = accept(listener, nullptr, nullptr);
        if (fd < 0) fail("accept");
        std::thread([=] {
            SSL* ssl = connection_for(context, fd, options);
            echo(ssl);
            SSL_free(ssl);
            close(fd);
        }).detach();
    }
}

// Sends and receives at once on one nonblocking connection. Records go through memory: OpenSSL 3.0
// breaks off a connection where it has to answer two KeyUpdates while a write of its own waits for
// the socket (see its issue 8677).
class Transfer {
 public:
    Transfer(SSL* ssl, const Options& options)
        : ssl_(ssl), options_(options), records_(BIO_new(BIO_s_mem())), buffer_(1 << 16) {
        SSL_set0_wbio(ssl_, records_);
    }

    void run() {
        while (SSL_do_handshake(ssl_) != 1) {
            flush();
            wait();
        }
        while (!ended_) {
            const bool sent = flush() && send_some(), received = receive_some();
            if (!closed_ && !options_.patient && complete()) {
                SSL_shutdown(ssl_);
                closed_ = true;
            } else if (!sent && !received && !ended_) {
                wait();
            }
        }
        if (!closed_) SSL_shutdown(ssl_);
        while (!flush()) wait();
        if (!complete()) {
            std::fprintf(stderr, "tlspeer: ended early: sent %ju, received %ju\n",
                         std::uintmax_t{sent_}, std::uintmax_t{checker_.offset()});
            std::exit(1);
        }
    }

 private:
    bool complete() const { return sent_ == options_.send && checker_.offset() == options_.expect; }

    // Whether all that was to be sent is sent.
    bool flush() {
        char* bytes = nullptr;
        for (;;) {
            const long size = BIO_get_mem_data(records_, &bytes);
            if (size <= 0) return true;
            const ssize_t sent =
                ::send(SSL_get_rfd(ssl_), bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL);
            if (sent < 0 && errno == EAGAIN) return false;
            if (sent < 0 && ended_) return true;  // the peer need not wait for our close_notify
            if (sent < 0) fail("send");
            scrap_.resize(static_cast<std::size_t>(sent));
            BIO_read(records_, scrap_.data(), static_cast<int>(sent));
        }
    }

    bool send_some() {
        if (sent_ == options_.send) return false;
        const std::size_t size = std::min<std::uint64_t>(buffer_.size(), options_.send - sent_);
        pattern::fill(sent_, std::span(buffer_).first(size));
        std::size_t count = 0;
        if (SSL_write_ex(ssl_, buffer_.data(), size, &count) != 1) return check_error("write");
        sent_ += count;
        since_update_ += count;
        if (options_.update && since_update_ >= options_.update) {
            since_update_ = 0;
            const int kind =
                options_.request ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
            if (SSL_key_update(ssl_, kind) != 1) fail("SSL_key_update");
        }
        return true;
    }

    bool receive_some() {
        std::size_t count = 0;
        if (SSL_read_ex(ssl_, buffer_.data(), buffer_.size(), &count) != 1)
            return check_error("read");
        if (!checker_.accept(std::span<const char>(buffer_).first(count))) {
            std::fprintf(stderr, "tlspeer: wrong bytes at %ju\n",
                         std::uintmax_t{checker_.offset()});
            std::exit(1);
        }
        return true;
    }

    // False when it would wait; the peer's close_notify ends the transfer, anything else the
    // program.
    bool check_error(const char* what) {
        switch (SSL_get_error(ssl_, 0)) {
            case SSL_ERROR_WANT_READ:
            case SSL_ERROR_WANT_WRITE:
                return false;
            case SSL_ERROR_ZERO_RETURN:
                ended_ = true;
                return false;
            default:
                fail(what);
        }
    }

    void wait() {
        const bool more = BIO_pending(records_) > 0 || (connected() && sent_ < options_.send);
        pollfd descriptor{SSL_get_rfd(ssl_), static_cast<short>(POLLIN | (more ? POLLOUT : 0)), 0};
        poll(&descriptor, 1, -1);
    }

    bool connected() const { return SSL_is_init_finished(ssl_) == 1; }

    SSL* ssl_;
    const Options& options_;
    BIO* records_;  // the SSL's own
    std::vector<char> scrap_;
    std::vector<char> buffer_;
    pattern::Checker checker_;
    std::uint64_t sent_ = 0, since_update_ = 0;
    bool closed_ = false, ended_ = false;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) return 100;
    Options options;
    options.server = std::string_view(argv[1]) == "server";
    options.name = argv[3];
    for (int i = 4; i < argc; ++i) {
        const std::string_view word = argv[i];
        auto number = [&] { return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0; };
        if (word == "--listen") options.listen = true;
        if (word == "--request") options.request = true;
        if (word == "--patient") options.patient = true;
        if (word == "--fd") options.fd = static_cast<int>(number());
        if (word == "--send") options.send = number();
        if (word == "--expect") options.expect = number();
        if (word == "--update") options.update = number();
    }
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX* context = context_for(options.server, argv[2], argv[3]);
    if (options.listen) serve(context, options);

    fcntl(options.fd, F_SETFL, fcntl(options.fd, F_GETFL) | O_NONBLOCK);
    SSL* ssl = connection_for(context, options.fd, options);
    Transfer(ssl, options).run();
    std::printf("updates %u\n", updates_received.load());
    SSL_free(ssl);
    SSL_CTX_free(context);
}
