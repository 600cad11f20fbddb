// SPDX-License-Identifier: MIT
// Handing a connection over to a program that knows nothing of TLS.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tlsclient.hpp"

namespace tlsfs::cmd {

// Where a program expects its connection.
struct DescriptorPair {
    int read_fd;
    int write_fd;
};
inline constexpr DescriptorPair kStandardPlace{0, 1};
inline constexpr DescriptorPair kUcspiClientPlace{6, 7};

// Opens what is missing of descriptors 0, 1 and 2, so that nothing of ours comes to stand there.
void fill_standard_descriptors();

// Closes a descriptor that has served; a standard one becomes /dev/null.
void drop_descriptor(int fd);

// Says in the environment what the tags of status tell. What is unknown is unset, not inherited.
void export_environment(const std::map<std::string, std::string>& tags);

// Becomes the program, with the connection's data in its place. Returns only on failure: an exit
// code, having said why.
[[nodiscard]] int become(const std::vector<std::string>& program, Connection connection,
                         DescriptorPair place);

}  // namespace tlsfs::cmd
