// SPDX-License-Identifier: MIT
#include "program.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <tuple>

#include "core/unique_fd.h"
#include "host_port.h"
#include "number.h"
#include "report.h"

namespace tlsfs::cmd {
namespace {

using Tags = std::map<std::string, std::string>;

// 192.0.2.1:443 or [2001:db8::1]:443; anything else is no address of the Internet.
std::optional<internal::HostPort> parse_endpoint(std::string_view text) {
    auto endpoint = internal::parse_host_port(text);
    if (!endpoint || !parse_number<unsigned>(endpoint->port)) return std::nullopt;
    // A dual-stack listener shows IPv4 peers so; programs match on the plain form.
    constexpr std::string_view kMapped = "::ffff:";
    std::string& address = endpoint->host;
    if (address.starts_with(kMapped) && address.find('.') != std::string::npos) {
        address.erase(0, kMapped.size());
    }
    if (address.empty()) return std::nullopt;
    return endpoint;
}

void set_or_unset(const char* name, const std::string& value) {
    if (value.empty()) {
        unsetenv(name);
    } else {
        setenv(name, value.c_str(), 1);
    }
}

void export_endpoint(const Tags& tags, const char* tag, const char* ip_name,
                     const char* port_name) {
    const auto text = tags.find(tag);
    const auto endpoint = text == tags.end() ? std::nullopt : parse_endpoint(text->second);
    set_or_unset(ip_name, endpoint ? endpoint->host : "");
    set_or_unset(port_name, endpoint ? endpoint->port : "");
}

struct Variable {
    const char* name;
    const char* tag;
};
constexpr std::array kVariables{
    Variable{"SSL_PROTOCOL", "Version"},
    Variable{"SSL_CIPHER", "Cipher"},
    Variable{"SSL_PEER_CERT_SUBJECT", "Peer"},
};

// UCSPI has these as well; we never know them.
constexpr std::array kUnknown{"TCPREMOTEHOST", "TCPREMOTEINFO", "TCPLOCALHOST"};

// Moves a descriptor to its place, where it survives exec.
bool put(UniqueFd fd, int target) {
    if (fd.get() == target) return fcntl(fd.release(), F_SETFD, 0) == 0;
    return dup2(fd.get(), target) >= 0;
}

// A second descriptor for data. The file `data` is opened once more by its path, which makes
// another inode: cat(1) refuses an input file that is its output.
UniqueFd second_descriptor(const Connection& connection) {
    struct stat info{};
    if (fstat(connection.data(), &info) != 0) return {};
    if (S_ISSOCK(info.st_mode)) return UniqueFd(fcntl(connection.data(), F_DUPFD_CLOEXEC, 0));
    return UniqueFd(open(connection.path_of("data").c_str(), O_RDWR | O_CLOEXEC));
}

// Both of a connection's places at once: neither may be overwritten before it has moved.
bool put_both(UniqueFd in, UniqueFd out, DescriptorPair place) {
    if (out.get() == place.read_fd) {
        out = UniqueFd(
            fcntl(out.get(), F_DUPFD_CLOEXEC, std::max(place.read_fd, place.write_fd) + 1));
        if (!out.valid()) return false;
    }
    // Two statements: `in` may stand where `out` comes, and must be closed before.
    if (!put(std::move(in), place.read_fd)) return false;
    return put(std::move(out), place.write_fd);
}

}  // namespace

void fill_standard_descriptors() {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (fcntl(fd, F_GETFD) < 0) std::ignore = open("/dev/null", O_RDWR);
    }
}

void drop_descriptor(int fd) {
    if (fd > STDERR_FILENO) {
        close(fd);
        return;
    }
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) return;
    dup2(null, fd);
    close(null);
}

void export_environment(const Tags& tags) {
    for (const auto& [name, tag] : kVariables) {
        const auto value = tags.find(tag);
        set_or_unset(name, value == tags.end() ? "" : value->second);
    }
    // A client chooses what stands here, and scripts use it.
    const auto name = tags.find("Name");
    const bool valid = name != tags.end() && internal::is_host_name(name->second);
    set_or_unset("SSL_TLS_SNI_SERVERNAME", valid ? name->second : "");
    const auto hash = tags.find("PeerSHA256");
    set_or_unset("SSL_PEER_CERT_HASH", hash == tags.end() ? "" : "SHA256:" + hash->second);
    export_endpoint(tags, "Remote", "TCPREMOTEIP", "TCPREMOTEPORT");
    export_endpoint(tags, "Local", "TCPLOCALIP", "TCPLOCALPORT");
    for (const char* unknown : kUnknown) unsetenv(unknown);
    setenv("PROTO", "SSL", 1);
}

int become(const std::vector<std::string>& program, Connection connection, DescriptorPair place) {
    export_environment(connection.agreed());
    UniqueFd out = second_descriptor(connection);
    if (!out.valid()) return complain_of_system("data");
    UniqueFd in(connection.release());
    if (!put_both(std::move(in), std::move(out), place)) return complain_of_system("dup2");

    std::vector<char*> arguments;
    arguments.reserve(program.size() + 1);
    for (const std::string& word : program) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    execvp(arguments.front(), arguments.data());
    return complain_of_system(program.front());
}

}  // namespace tlsfs::cmd
