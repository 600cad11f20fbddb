// SPDX-License-Identifier: MIT
// A connection by the files of a mount: for the kernel engine, and where the companion can make no
// data socket.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "core/unique_fd.h"
#include "mount.h"
#include "opening.h"

namespace tlsfs::internal {

class CtlClient {
 public:
    // A new connection of `mount`: opens clone.
    [[nodiscard]] static Result<CtlClient> open(Mount mount);

    // Says the plan over this transport, waits until the handshake is over, and opens data.
    [[nodiscard]] Result<UniqueFd> shake_hands(const Plan& plan, Streams transport);

    // Writes ctl lines that wait for nothing.
    [[nodiscard]] Result<> say(std::string_view lines);

    // What one of the small files says.
    [[nodiscard]] Result<std::string> read(const char* name) const;

    [[nodiscard]] unsigned number() const { return number_; }

 private:
    CtlClient(Mount mount, UniqueFd ctl, unsigned number)
        : mount_(std::move(mount)), ctl_(std::move(ctl)), number_(number) {}

    [[nodiscard]] Result<> use_transport(Streams transport);
    [[nodiscard]] Result<> give_pem(const PemSource& source);
    void wait_until_over() const;
    [[nodiscard]] Result<UniqueFd> open_file(const char* name, int flags) const;
    [[nodiscard]] std::string path_of(const char* name) const;
    [[nodiscard]] tl::unexpected<Error> explained(int code) const;

    Mount mount_;
    UniqueFd ctl_;
    unsigned number_;
};

}  // namespace tlsfs::internal
