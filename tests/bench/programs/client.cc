// SPDX-License-Identifier: MIT
// The application, for all contestants the same:
//
//     client --load send|receive|sendfile|echo|handshakes|busy|idle --via TRANSPORT ... [--patience
//     S]
//
// stream.h has the options of the transports, loads.h those of the loads. It prints "ready", waits
// for a line, does its work, prints one JSON object, and waits for the end of input.

#include <signal.h>
#include <unistd.h>

#include <map>

#include "fail.h"
#include "loads.h"
#include "socket.h"

int main(int argc, char** argv) {
    using Load = void (*)(bench::Transport&, const bench::Options&);
    const std::map<std::string, Load> loads = {
        {"send", bench::send_bulk},
        {"receive", bench::receive_bulk},
        {"sendfile", bench::send_file},
        {"echo", bench::echo},
        {"handshakes", bench::handshakes},
        {"busy", bench::busy},
        {"idle", bench::idle},
    };
    const bench::Options options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    alarm(static_cast<unsigned>(options.number("patience", 120)));
    bench::raise_descriptor_limit();
    const auto load = loads.find(options.text("load"));
    if (load == loads.end()) return 100;
    load->second(*bench::make_transport(options), options);
    // Whatever is still open is closed by the end of the process.
    return 0;
}
