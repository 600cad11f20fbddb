// SPDX-License-Identifier: MIT
// The files as a program uses them: clone, one write to ctl, data.
#include <fcntl.h>

#include "fail.h"
#include "socket.h"
#include "stream.h"

namespace bench {
namespace {

class TlsfsTransport final : public Transport {
 public:
    explicit TlsfsTransport(const Options& options)
        : port_(static_cast<std::uint16_t>(options.number("port"))),
          mount_(options.text("mount")),
          name_(options.text("name")) {
        if (options.number("resume", 1) == 0) lines_ += "session off\n";
        for (const std::string& line : options.all("line")) lines_ += line + "\n";
    }

    std::unique_ptr<Stream> open() override {
        const UniqueFd transport = connect_to(port_);
        const UniqueFd ctl(::open((mount_ + "/clone").c_str(), O_RDWR | O_CLOEXEC));
        if (!ctl.valid()) fail(mount_ + "/clone");
        char number[32];
        const ssize_t digits = ::read(ctl.get(), number, sizeof number);
        if (digits < 2) fail("reading the number");
        const std::string lines =
            lines_ + "fd " + std::to_string(transport.get()) + "\nclient " + name_ + "\n";
        if (::write(ctl.get(), lines.data(), lines.size()) != static_cast<ssize_t>(lines.size()))
            fail("client");
        const std::string data =
            mount_ + "/" + std::string(number, static_cast<std::size_t>(digits) - 1) + "/data";
        const int fd = ::open(data.c_str(), O_RDWR | O_CLOEXEC);
        if (fd < 0) fail(data);
        return std::make_unique<FdStream>(fd);
    }

 private:
    std::uint16_t port_;
    std::string mount_, name_, lines_;
};

}  // namespace

std::unique_ptr<Transport> tlsfs_transport(const Options& options) {
    return std::make_unique<TlsfsTransport>(options);
}

}  // namespace bench
