# SPDX-License-Identifier: MIT
"""The attach socket as a program without files has it."""

import os
import select
import socket

from .case import Case
from .certs import NAME
from .config import TIMEOUT
from .device import fields
from .peers import echo, server_context, tcp_pair


class Guest:
    """One who is connected to an attach socket, by its path."""

    def __init__(self, case, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        case.addCleanup(self.socket.close)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(str(path))

    def close(self):
        self.socket.close()

    def say(self, text, *descriptors):
        """One message."""
        message = text if isinstance(text, bytes) else text.encode()
        numbers = [each if isinstance(each, int) else each.fileno() for each in descriptors]
        if numbers:
            socket.send_fds(self.socket, [message], numbers)
        else:
            self.socket.send(message)

    def hear(self):
        """The next message, as text and a list of sockets; "" and [] at the end."""
        text, descriptors, flags, _ = socket.recv_fds(self.socket, 20_000, 16)
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise AssertionError("a message that is too large")
        return text.decode(), [socket.socket(fileno=descriptor) for descriptor in descriptors]

    def ask(self, text, *descriptors):
        """A message and the text of its answer, which must come without descriptors."""
        self.say(text, *descriptors)
        answer, attached = self.hear()
        if attached:
            raise AssertionError(f"{text!r} was answered with a descriptor")
        return answer

    def open(self, *lines, descriptors=(), bare=False):
        """(number, status, data socket or None). An answer that is no `ok` raises OSError with its text."""
        self.say("\n".join(["open bare" if bare else "open", *lines, ""]), *descriptors)
        return self.opened()

    def opened(self):
        answer, attached = self.hear()
        first, _, rest = answer.partition("\n")
        if not first.startswith("ok "):
            raise OSError(answer)
        return int(first[3:]), fields(rest), attached[0] if attached else None

    def quiet(self):
        """Has nothing come?"""
        return not select.select([self.socket], [], [], 0)[0]

    def states(self):
        """The states that are told until the end."""
        found = []
        while True:
            text, _ = self.hear()
            if not text:
                return found
            first, _, rest = text.partition("\n")
            if first != "state":
                raise AssertionError(f"no state: {text!r}")
            found.append(fields(rest)["State"])


def file_of(text):
    """A file with this text, open for reading, that has no name."""
    descriptor = os.memfd_create("text")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(text)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


# A program that sends each message and prints the first word of its answer.
SAY = """
import os, socket, sys
guest = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
guest.connect(sys.argv[1])
for message in sys.argv[2:]:
    guest.send(message.encode())
    print(guest.recv(20000).decode().split()[0], flush=True)
"""


class AttachCase(Case):
    """A test with a companion and its attach socket."""

    def serve(self, *options, **more):
        self.tlsfs = self.mount(*options, **more)
        self.path = self.tlsfs.path / "attach"

    def guest(self):
        return Guest(self, self.path)

    def pem(self, name):
        descriptor = file_of(self.certs.text(name))
        self.addCleanup(os.close, descriptor)
        return descriptor

    def facing(self, script=echo, pair=tcp_pair):
        """A transport whose other end is a server in this process: (our end, peer)."""
        ours, theirs = pair()
        self.addCleanup(ours.close)
        return ours, self.peer(theirs, server_context(self.certs), script)

    def open(self, script=echo, *lines, pair=tcp_pair):
        """(guest, number, data socket, peer, addresses of the transport)"""
        ours, peer = self.facing(script, pair)
        guest = self.guest()
        names = ours.getsockname(), ours.getpeername()
        number, status, data = guest.open("ca -", *lines, "fd -", f"client {NAME}", descriptors=[self.pem("ca.pem"), ours])
        ours.close()
        self.assertEqual(status["State"], "Established")
        self.assertEqual(status["Verify"], "ok")
        self.addCleanup(data.close)
        return guest, number, data, peer, names
