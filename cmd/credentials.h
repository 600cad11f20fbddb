// SPDX-License-Identifier: MIT
// What a tunnel makes its handshakes with: options, and the PEM files that they name.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/unique_fd.h"
#include "tlsclient.hpp"

namespace tlsfs::cmd {

using RoleOptions = std::variant<ClientOptions, ServerOptions>;

// PEM files are opened once, and each handshake reads them through these descriptors: files that
// take the place of the opened ones come into use by another load(), after they were tried out, and
// all at once. The bytes themselves stay where they are, out of this process.
class Credentials {
 public:
    // Nothing if no handshake could be made with them; `why` says it.
    [[nodiscard]] static std::shared_ptr<const Credentials> load(const RoleOptions& options,
                                                                 Failure& why);

    // Over a connected socket. `host` is what a server's certificate must bear if the options do
    // not name anything else.
    [[nodiscard]] std::optional<Connection> shake_hands(int socket_fd, const std::string& host,
                                                        Failure& why) const;

 private:
    struct File {
        UniqueFd fd;
        std::string name;
    };

    explicit Credentials(RoleOptions options) : options_(std::move(options)) {}
    [[nodiscard]] Failure open_all();
    [[nodiscard]] Failure open(std::string& name);
    [[nodiscard]] Failure with_names(Failure why) const;

    RoleOptions options_;  // with /proc/self/fd/N in place of names
    std::vector<File> files_;
};

}  // namespace tlsfs::cmd
