// SPDX-License-Identifier: MIT
// One connection of the mount, as its files show it.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "core/unique_fd.h"
#include "mount.h"

namespace tlsfs::internal {

class CtlClient {
 public:
    // A new connection of the first mount there is.
    [[nodiscard]] static Result<CtlClient> open();
    // A new connection of `mount`: opens clone.
    [[nodiscard]] static Result<CtlClient> open(Mount mount);

    // Writes ctl lines that wait for nothing.
    [[nodiscard]] Result<> say(std::string_view lines);

    // Writes a `dial` line and waits until the carrier stands.
    [[nodiscard]] Result<> dial(std::string_view line);

    // Writes the `client` or `server` line, waits until the handshake is over and opens data.
    [[nodiscard]] Result<UniqueFd> shake_hands(std::string_view line);

    // Writes the `client` or `server` line and waits for nothing: success is a handshake that goes
    // on. From then on no line waits.
    [[nodiscard]] Result<> begin_to_shake_hands(std::string_view line);

    [[nodiscard]] Result<UniqueFd> open_data() const;

    // Takes `read` and `write` for the carrier, which may be one and the same.
    [[nodiscard]] Result<> use_carrier(int read, int write);

    // Copies the PEM file `source` into this connection's `name`: ca, cert or key.
    [[nodiscard]] Result<> give_pem(const char* name, const std::string& source);

    // What one of the small files says.
    [[nodiscard]] Result<std::string> read(const char* name) const;

    [[nodiscard]] unsigned number() const { return number_; }
    [[nodiscard]] std::string path_of(const char* name) const;

 private:
    CtlClient(Mount mount, UniqueFd ctl, unsigned number)
        : mount_(std::move(mount)), ctl_(std::move(ctl)), number_(number) {}

    [[nodiscard]] short wait_until_over() const;
    [[nodiscard]] Result<UniqueFd> open_file(const char* name, int flags) const;
    [[nodiscard]] tl::unexpected<Error> explained(int code) const;

    Mount mount_;
    UniqueFd ctl_;
    unsigned number_;
};

}  // namespace tlsfs::internal
