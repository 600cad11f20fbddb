#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hands a TLS connection to another process, of another user if need be: pass_connection.py HOST PORT SOCKET.

Who takes it (take_connection.py SOCKET) needs no key, no certificate, no mount and no rights: a descriptor is all.
"""

import os
import socket
import sys

TLS = os.environ.get("TLSFS", "/run/tls")
host, port, path = sys.argv[1:]

ctl = os.open(f"{TLS}/clone", os.O_RDWR)
directory = f"{TLS}/{os.read(ctl, 20).decode().strip()}"
if "CA" in os.environ:
    with open(os.environ["CA"], "rb") as ca, open(f"{directory}/ca", "wb") as file:
        file.write(ca.read())
os.write(ctl, f"dial {host}:{port}\nclient\n".encode())
data = os.open(f"{directory}/data", os.O_RDWR)
os.close(ctl)

with socket.socket(socket.AF_UNIX) as taker:
    taker.connect(path)
    socket.send_fds(taker, [b"a TLS connection"], [data])
