// SPDX-License-Identifier: MIT
// Handing a connection over to a program that knows nothing of TLS.
#pragma once

#include <string>
#include <vector>

#include "tlsclient.hpp"

namespace tlsfs::cmd {

// Where a program expects its connection.
struct Place {
    int read_fd;
    int write_fd;
};
inline constexpr Place kStandardPlace{0, 1};
inline constexpr Place kUcspiClientPlace{6, 7};

// Opens what is missing of descriptors 0, 1 and 2, so that nothing of ours comes to stand there.
void fill_standard_descriptors();

// Closes a descriptor that has served; a standard one becomes /dev/null.
void drop_descriptor(int fd);

// Says in the environment what is known of the connection. What is unknown is unset, not inherited.
void export_environment(const Connection& connection);

// Becomes the program, with the connection's data in its place. Returns only on failure: an exit
// code, having said why.
[[nodiscard]] int become(const std::vector<std::string>& program, Connection connection,
                         Place place);

}  // namespace tlsfs::cmd
