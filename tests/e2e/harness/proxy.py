# SPDX-License-Identifier: MIT
"""The PROXY protocol's second version, written from its specification and by nothing of ours."""

import socket
import struct

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
TLS_NAMES = {0x21: "version", 0x22: "cn", 0x23: "cipher"}


def header(family, addresses, records=b"", command=1):
    """The bytes of a header."""
    body = addresses + records
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(body)) + body


def tcp4(source, destination):
    """A header for a stream between two (address, port)."""
    return header(0x11, socket.inet_aton(source[0]) + socket.inet_aton(destination[0]) +
                  struct.pack("!HH", source[1], destination[1]))


def _receive(sock, count):
    parts = []
    while count:
        part = sock.recv(count)
        if not part:
            raise EOFError(f"{count} bytes of a header are missing")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _records(body):
    found = {}
    while body:
        kind, size = struct.unpack_from("!BH", body)
        value, body = body[3:3 + size], body[3 + size:]
        if len(value) != size or kind in found:
            raise ValueError(f"record {kind:#x}: {value!r}")
        found[kind] = value
    return found


def _tls(value):
    client, verify = struct.unpack_from("!BI", value)
    return {"client": client, "verify": verify,
            **{TLS_NAMES[kind]: text.decode() for kind, text in _records(value[5:]).items()}}


def receive(sock):
    """Takes a header off a stream: its family, addresses and records."""
    start = _receive(sock, 16)
    if start[:12] != SIGNATURE or start[12] != 0x21:
        raise ValueError(f"no header of a proxied stream: {start!r}")
    body = _receive(sock, struct.unpack("!H", start[14:])[0])
    found = {"family": start[13]}
    if start[13] == 0x11:
        size, source, destination = 12, socket.inet_ntoa(body[:4]), socket.inet_ntoa(body[4:8])
    elif start[13] == 0x21:
        size = 36
        source, destination = (socket.inet_ntop(socket.AF_INET6, body[at:at + 16]) for at in (0, 16))
    elif start[13] == 0x31:
        size = 216
        found |= {"source": body[:108].rstrip(b"\0"), "destination": body[108:216].rstrip(b"\0").decode()}
    else:
        raise ValueError(f"family {start[13]:#x}")
    if size < 216:
        ports = struct.unpack("!HH", body[size - 4:size])
        found |= {"source": (source, ports[0]), "destination": (destination, ports[1])}
    records = _records(body[size:])
    found["tls"] = _tls(records.pop(0x20))
    found["alpn"] = records.pop(0x01, b"").decode()
    found["authority"] = records.pop(0x02, b"").decode()
    if records:
        raise ValueError(f"unknown records: {records}")
    return found
