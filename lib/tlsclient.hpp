// SPDX-License-Identifier: MIT
// TLS on descriptors, with options and with the cause in words: tlsclient(3).
//
//     tlsfs::Failure why;
//     auto connection = tlsfs::client(tlsfs::Transport::dial("example.com:443"), {}, why);
//     if (!connection) std::cerr << why.text << '\n';
//     else write(connection->data(), "GET / HTTP/1.0\r\n\r\n", 18);
//
// Nothing here throws but std::bad_alloc. Distinct connections may be used from distinct threads;
// data() of one may be read and written from two threads at once.
#ifndef TLSFS_TLSCLIENT_HPP
#define TLSFS_TLSCLIENT_HPP

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tlsclient.h"

namespace tlsfs {

// Why something failed; false when it did not.
struct Failure {
    int code = 0;      // an errno value
    std::string text;  // one line for a person, without control characters
    explicit operator bool() const noexcept { return code != 0; }
};

enum class Version : std::uint8_t { tls12, tls13 };
enum class Engine : std::uint8_t { automatic, user, kernel };

// What both roles can ask for. The defaults are the companion's.
struct Policy {
    Version min_version = Version::tls12;
    Version max_version = Version::tls13;
    std::string ciphers;            // colon-separated; empty: AEAD suites with forward secrecy
    std::string groups;             // colon-separated; empty: OpenSSL's
    std::vector<std::string> alpn;  // protocols, the preferred one first
    std::chrono::milliseconds timeout{30'000};  // bounds dialling and handshake together
    Engine engine = Engine::automatic;
};

// File names are of PEM files. A private key's bytes never enter the caller's memory.
struct ClientOptions {
    std::string name;  // what the certificate must bear; empty: the dialled host, else the address
    std::string ca_file;  // trust these issuers and no others; empty: the machine's trust store
    std::vector<std::string> pins;  // "sha256:HEX" of the leaf, "spki:HEX" of its key: trust these
                                    // in place of any issuer
    bool accept_any_certificate = false;  // no verification at all: anybody may be the peer
    std::string cert_file, key_file;      // where the server wants a client certificate
    std::vector<std::string> identities;  // or by name: tlskeyd(8) has the keys
    bool session_cache = true;            // resume an earlier session with the same peer
    Policy policy;
};

struct ServerOptions {
    std::string cert_file, key_file;       // the chain, leaf first, and its key; both needed
    std::vector<std::string> identities;   // unless by name: tlskeyd(8) has the keys
    std::string client_ca_file;            // demand a client certificate of one of these issuers
    std::vector<std::string> client_pins;  // or one with one of these pins
    std::vector<std::string> allow;        // and with one of these names: the rules of ctl's allow
    Policy policy;
};

// What the records travel on. Descriptors stay the caller's own: the companion takes duplicates, so
// close yours once the connection stands, or the peer will not see the transport end.
struct Transport {
    int read_fd = -1;
    int write_fd = -1;
    std::string target;

    static Transport stream(int fd) { return {fd, fd, {}}; }
    static Transport pair(int read_fd, int write_fd) { return {read_fd, write_fd, {}}; }
    static Transport dial(std::string target) {
        return {-1, -1, std::move(target)};
    }  // HOST:PORT, /path
};

// A connection after its handshake. Move-only; the end of its life closes data, and with the last
// descriptor of data goes the connection, with a close_notify.
class TLSFS_API Connection {
 public:
    struct Parts;  // private to the library

    explicit Connection(std::unique_ptr<Parts> parts) noexcept;
    Connection(Connection&& other) noexcept;
    Connection& operator=(Connection&& other) noexcept;
    ~Connection();

    // The plaintext, both ways: a connected TCP socket, with the transport's addresses; blocking
    // and close-on-exec. Where the companion can make none, and with the kernel engine, it is the
    // file `data` of tls(4), on which read, write and poll work.
    [[nodiscard]] int data() const noexcept;

    // Hands data over to the caller, who closes it. The connection then lives by data alone; of the
    // rest of this object nothing but the destructor and assignment may be used.
    [[nodiscard]] int release() noexcept;

    [[nodiscard]] unsigned number() const noexcept;

    // The tags of `status` ("Version", "Cipher", "Peer" …), without control characters: as they
    // were when the handshake was over, which asks nobody, and as they are now.
    [[nodiscard]] const std::map<std::string, std::string>& agreed() const noexcept;
    [[nodiscard]] std::optional<std::map<std::string, std::string>> status(Failure& why) const;

    // The peer's certificates as PEM, leaf first. Empty if it has shown none.
    [[nodiscard]] std::optional<std::string> peer(Failure& why) const;

    // The path of one of the connection's files: "peer", "data". Empty if the companion has no
    // mount.
    [[nodiscard]] std::string path_of(const std::string& file) const;

    [[nodiscard]] std::optional<std::map<std::string, std::uint64_t>> stats(Failure& why) const;

    [[nodiscard]] Failure close();      // sends close_notify; reading goes on
    [[nodiscard]] Failure keyupdate();  // new keys for both directions, TLS 1.3
    [[nodiscard]] Failure hangup();     // ends the connection at once

 private:
    std::unique_ptr<Parts> parts_;
};

// Wait until the handshake is over. Nothing means that there is no connection; `why` says why.
[[nodiscard]] TLSFS_API std::optional<Connection> client(const Transport& transport,
                                                         const ClientOptions& options,
                                                         Failure& why);
[[nodiscard]] TLSFS_API std::optional<Connection> server(const Transport& transport,
                                                         const ServerOptions& options,
                                                         Failure& why);

// Would a connection with these options get as far as its handshake? For what listens, before it
// does.
[[nodiscard]] TLSFS_API Failure check(const ClientOptions& options);
[[nodiscard]] TLSFS_API Failure check(const ServerOptions& options);

}  // namespace tlsfs

#endif
