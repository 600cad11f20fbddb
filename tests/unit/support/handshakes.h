// SPDX-License-Identifier: MIT
// Messages of a client's handshake in TLS 1.2, up to where the client signs.
#pragma once

#include "core/bytes.h"

namespace tlsfs::test {

inline Bytes message(std::uint8_t type, ByteView body) {
    Bytes made{type};
    append_counted(made, body, 3);
    return made;
}

inline Bytes hello(std::uint8_t type) {
    Bytes body{3, 3};
    append_bytes(body, Bytes(32, 7));
    body.push_back(0);
    append_bytes(body, Bytes{0, 2, 0xc0, 0x2b, 1, 0});
    return message(type, body);
}

inline Bytes certificates(ByteView leaf) {
    Bytes list;
    append_counted(list, leaf, 3);
    Bytes body;
    append_counted(body, list, 3);
    return message(11, body);
}

inline Bytes join(std::initializer_list<Bytes> parts) {
    Bytes all;
    for (const Bytes& part : parts) append_bytes(all, part);
    return all;
}

inline Bytes client_handshake(ByteView leaf) {
    return join({hello(1), hello(2), certificates(Bytes(500, 9)), message(12, Bytes(70, 1)),
                 message(13, Bytes(10, 2)), message(14, {}), certificates(leaf),
                 message(16, Bytes(66, 3))});
}

}  // namespace tlsfs::test
