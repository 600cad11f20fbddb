#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes a connection from pass_connection.py, says a line and prints the answer: take_connection.py SOCKET LINE."""

import os
import socket
import sys

path, line = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen(1)
    print("ready", flush=True)
    giver, _ = listener.accept()
with giver:
    _, (data,), _, _ = socket.recv_fds(giver, 100, 1)
os.write(data, line.encode() + b"\n")
print(os.read(data, 4096).decode(), end="")
os.close(data)  # the last one: close_notify
