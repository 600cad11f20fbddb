// SPDX-License-Identifier: MIT
// options PORT CAFILE: the C++ interface.
#include <string>
#include <tlsclient.hpp>

#include "talk.h"

int main(int, char** argv) {
    tlsfs::Failure why;
    tlsfs::ClientOptions options;
    options.ca_file = argv[2];
    options.policy.alpn = {"http/1.1"};
    auto connection =
        tlsfs::client(tlsfs::Transport::dial(std::string("localhost:") + argv[1]), options, why);
    if (!connection) {
        printf("%d %s\n", why.code, why.text.c_str());
        return 2;
    }
    auto status = connection->status(why);
    if (!status) return 3;
    printf("%s %s\n", (*status)["State"].c_str(), (*status)["Verify"].c_str());
    return talk(connection->release());
}
