// SPDX-License-Identifier: MIT
// The program that calls SSL_write and SSL_read itself, on a socket of its own, and keeps its
// SSL_CTX. Nothing else is set than what a careful program sets: verification, the name,
// resumption.
#include <openssl/err.h>

#include <mutex>

#include "fail.h"
#include "socket.h"
#include "stream.h"
#include "tls.h"

namespace bench {
namespace {

class OpensslStream final : public Stream {
 public:
    OpensslStream(UniqueFd fd, SslPtr ssl) : fd_(std::move(fd)), ssl_(std::move(ssl)) {}
    ~OpensslStream() override { SSL_shutdown(ssl_.get()); }

    std::size_t read(std::span<char> buffer) override {
        std::size_t count = 0;
        if (SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &count) != 1)
            fail_tls("SSL_read");
        return count;
    }
    void write(std::span<const char> bytes) override {
        std::size_t count = 0;
        if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &count) != 1)
            fail_tls("SSL_write");
    }
    [[nodiscard]] std::optional<bool> resumed() const override {
        return SSL_session_reused(ssl_.get()) == 1;
    }
    [[nodiscard]] int descriptor() const override { return fd_.get(); }

 private:
    UniqueFd fd_;
    SslPtr ssl_;
};

class OpensslTransport final : public Transport {
 public:
    explicit OpensslTransport(const Options& options)
        : port_(static_cast<std::uint16_t>(options.number("port"))),
          name_(options.text("name")),
          resume_(options.number("resume", 1) != 0),
          context_(client_context(options.text("ca", ""))) {
        SSL_CTX_set_app_data(context_.get(), this);
        SSL_CTX_set_session_cache_mode(context_.get(),
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        if (resume_) SSL_CTX_sess_set_new_cb(context_.get(), keep);
    }

    std::unique_ptr<Stream> open() override {
        UniqueFd fd = connect_to(port_);
        SslPtr ssl(SSL_new(context_.get()));
        SSL_set_tlsext_host_name(ssl.get(), name_.c_str());
        SSL_set1_host(ssl.get(), name_.c_str());
        SSL_set_fd(ssl.get(), fd.get());
        if (resume_) offer(ssl.get());
        ERR_clear_error();
        if (SSL_connect(ssl.get()) != 1) fail_tls("SSL_connect");
        if (!is_as_agreed(ssl.get())) fail("not the suite agreed on");
        return std::make_unique<OpensslStream>(std::move(fd), std::move(ssl));
    }

 private:
    static int keep(SSL* ssl, SSL_SESSION* session) {
        auto* self = static_cast<OpensslTransport*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
        const std::scoped_lock guard(self->lock_);
        self->session_.reset(session);
        return 1;
    }
    void offer(SSL* ssl) {
        const std::scoped_lock guard(lock_);
        if (session_) SSL_set_session(ssl, session_.get());
    }

    std::uint16_t port_;
    std::string name_;
    bool resume_;
    std::mutex lock_;  // session_
    SslSessionPtr session_;
    SslContextPtr context_;
};

}  // namespace

std::unique_ptr<Transport> openssl_transport(const Options& options) {
    return std::make_unique<OpensslTransport>(options);
}

}  // namespace bench
