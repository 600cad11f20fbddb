// SPDX-License-Identifier: MIT
// The same in C++, with options, and with the cause in words: client HOST:PORT TEXT [CA-FILE].
//   c++ -std=c++20 client.cc $(pkg-config --cflags --libs tlsfs) -o client
#include <unistd.h>

#include <array>
#include <iostream>
#include <string>
#include <tlsclient.hpp>

int main(int argc, char** argv) {
    if (argc < 3) return 100;
    tlsfs::ClientOptions options;
    options.policy.min_version = tlsfs::Version::tls13;
    if (argc > 3) options.ca_file = argv[3];

    tlsfs::Failure why;
    const auto connection = tlsfs::client(tlsfs::Transport::dial(argv[1]), options, why);
    if (!connection) {
        std::cerr << why.text << '\n';
        return 98;
    }
    const std::string line = std::string(argv[2]) + '\n';
    if (write(connection->data(), line.data(), line.size()) < 0) return 111;
    std::array<char, 4096> answer{};
    const ssize_t got = read(connection->data(), answer.data(), answer.size());
    if (got < 0) return 111;
    std::cout.write(answer.data(), got);
}
