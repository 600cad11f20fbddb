// SPDX-License-Identifier: MIT
// A server that does many handshakes: through the files, or with an SSL_CTX that it keeps.
//
//     server --via tlsfs|openssl --chain FILE --key FILE [--mount DIR] [--threads N]
//
// Prints "port N". Each connection is asked for one byte, answers it, and is closed.

#include <fcntl.h>
#include <openssl/err.h>
#include <signal.h>
#include <sys/socket.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#include "fail.h"
#include "options.h"
#include "protocol.h"
#include "socket.h"
#include "tls.h"

namespace {

using bench::fail;
using bench::Request;
using bench::UniqueFd;
// Serves one accepted connection. A client that goes away early is none of our failures.
using Serve = std::function<void(UniqueFd)>;

std::string contents(const std::string& path) {
    std::ifstream file(path);
    if (!file) fail(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

void put(const std::string& path, const std::string& text) {
    const UniqueFd file(open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    if (!file.valid() || write(file.get(), text.data(), text.size()) < 0) fail(path);
}

Serve serve_with_tlsfs(const bench::Options& options) {
    const std::string mount = options.text("mount"), chain = contents(options.text("chain")),
                      key = contents(options.text("key"));
    return [=](UniqueFd transport) {
        const UniqueFd ctl(open((mount + "/clone").c_str(), O_RDWR | O_CLOEXEC));
        if (!ctl.valid()) fail("clone");
        char number[32];
        const ssize_t digits = read(ctl.get(), number, sizeof number);
        if (digits < 2) fail("reading the number");
        const std::string where =
            mount + "/" + std::string(number, static_cast<std::size_t>(digits) - 1) + "/";
        put(where + "cert", chain);
        put(where + "key", key);
        const std::string lines = "fd " + std::to_string(transport.get()) + "\nserver\n";
        if (write(ctl.get(), lines.data(), lines.size()) < 0) return;
        const UniqueFd data(open((where + "data").c_str(), O_RDWR | O_CLOEXEC));
        Request request;
        if (read(data.get(), &request, sizeof request) != sizeof request) return;
        if (write(data.get(), &bench::kGo, 1) == 1)
            while (read(data.get(), &request, sizeof request) > 0) {
            }
    };
}

Serve serve_with_openssl(const bench::Options& options) {
    const std::shared_ptr<SSL_CTX> context =
        bench::server_context(options.text("chain"), options.text("key"));
    return [=](UniqueFd fd) {
        const bench::SslPtr ssl(SSL_new(context.get()));
        SSL_set_fd(ssl.get(), fd.get());
        ERR_clear_error();
        if (SSL_accept(ssl.get()) != 1) return;
        Request request;
        std::size_t count = 0;
        if (SSL_read_ex(ssl.get(), &request, sizeof request, &count) != 1) return;
        if (SSL_write_ex(ssl.get(), &bench::kGo, 1, &count) == 1)
            while (SSL_read_ex(ssl.get(), &request, sizeof request, &count) == 1) {
            }
        SSL_shutdown(ssl.get());
    };
}

}  // namespace

int main(int argc, char** argv) {
    const bench::Options options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    bench::raise_descriptor_limit();
    const Serve serve =
        options.text("via") == "tlsfs" ? serve_with_tlsfs(options) : serve_with_openssl(options);
    std::uint16_t port = 0;
    const UniqueFd listener = bench::listen_anywhere(port);
    std::printf("port %u\n", unsigned{port});
    std::fflush(stdout);
    const auto work = [&] {
        for (;;) {
            UniqueFd fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!fd.valid()) continue;
            bench::set_nodelay(fd.get());
            serve(std::move(fd));
        }
    };
    std::vector<std::thread> threads;
    for (std::uint64_t i = 0; i < options.number("threads", 8); ++i) threads.emplace_back(work);
    for (std::thread& thread : threads) thread.join();
}
