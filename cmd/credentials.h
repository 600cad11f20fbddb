// SPDX-License-Identifier: MIT
// What a tunnel makes its handshakes with: options, and the PEM files that they name.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "attach_message.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "tlsclient.hpp"

namespace tlsfs::cmd {

using RoleOptions = std::variant<ClientOptions, ServerOptions>;

// PEM files are opened once, and the companion reads them through these descriptors for each
// handshake: files that take the place of the opened ones come into use by another load(), after
// they were tried out, and all at once. Their bytes never enter this process.
class Credentials {
 public:
    // Nothing if no handshake could be made with them; `why` says it.
    [[nodiscard]] static std::shared_ptr<const Credentials> load(const RoleOptions& options,
                                                                 Failure& why);

    // A request that opens a connection, up to the transport; `start_line` is its last line. `host`
    // is what a server's certificate must bear if the options do not name anything else.
    struct Request {
        internal::AttachRequest request;
        std::string start_line;
    };
    [[nodiscard]] Result<Request> begin(std::string_view first_line, const std::string& host) const;

    // An error as who gave the options is to read it.
    [[nodiscard]] std::string explain(const Error& error) const;

 private:
    struct File {
        UniqueFd fd;
        std::string verb, name;
    };

    explicit Credentials(RoleOptions options) : options_(std::move(options)) {}
    [[nodiscard]] Failure open_all();
    [[nodiscard]] Failure open(std::string_view verb, std::string& name);
    [[nodiscard]] Failure with_names(Failure why) const;

    RoleOptions options_;  // with /proc/self/fd/N in place of names
    std::vector<File> files_;
};

}  // namespace tlsfs::cmd
