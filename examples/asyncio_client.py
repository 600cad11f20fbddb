#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A data descriptor in Python's asyncio: asyncio_client.py HOST PORT LINE... asks many things at once.

One connection for each line; the handshakes run side by side, because ctl is nonblocking, and no thread waits.
"""

import asyncio
import os
import sys

TLS = os.environ.get("TLSFS", "/run/tls")


async def ready(add, remove, fd):
    event = asyncio.Event()
    add(fd, event.set)
    try:
        await event.wait()
    finally:
        remove(fd)


async def connect(host, port):
    """The data descriptor of a verified connection."""
    loop = asyncio.get_running_loop()
    ctl = os.open(f"{TLS}/clone", os.O_RDWR | os.O_CLOEXEC)
    try:
        directory = f"{TLS}/{os.read(ctl, 20).decode().strip()}"
        if "CA" in os.environ:
            with open(os.environ["CA"], "rb") as ca, open(f"{directory}/ca", "wb") as file:
                file.write(ca.read())
        os.set_blocking(ctl, False)
        try:
            os.write(ctl, f"dial {host}:{port}\nclient\n".encode())
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != 115:  # EINPROGRESS
                raise
        await ready(loop.add_reader, loop.remove_reader, ctl)
        return os.open(f"{directory}/data", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # or why it failed
    finally:
        os.close(ctl)


async def ask(host, port, line):
    loop = asyncio.get_running_loop()
    data = await connect(host, port)
    try:
        os.write(data, line.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            await ready(loop.add_reader, loop.remove_reader, data)
            got = os.read(data, 65536)
            if not got:
                break
            answer += got
        return answer.decode().strip()
    finally:
        os.close(data)


async def main(host, port, *lines):
    for answer in await asyncio.gather(*(ask(host, port, line) for line in lines)):
        print(answer)


asyncio.run(main(*sys.argv[1:]))
