# SPDX-License-Identifier: MIT
"""The one place that knows how the plain sides differ in what a program may see.

A connection's plaintext is the file `data`, a data socket, or a descriptor that was given with `plain`. A test is
written once, and asks its `plain_side` where they rightly differ.
"""

import errno
import os
import socket
import sys

from .engine import engine
from .wait import until


class PlainSide:
    """What they have in common. `data` is a descriptor of the plaintext."""

    # As it stands in the titles of the tests.
    name = None
    # Is there an open file of its own for everyone who asks, or only dups of one?
    own_opens = False
    # Streams in bulk try this part of what they try over the file.
    bulk = 1 / 8

    def ask(self, connection, flags=0):
        """Asks the companion for the plain side: a new descriptor."""
        raise NotImplementedError

    def reads(self, code, told=False):
        """What reading may say where the file says the errno `code`, as a set of errnos and b"". Has a write `told`
        of it already?"""
        raise NotImplementedError

    def writes(self, code):
        """The errnos of a write that comes too late, where the file says EPIPE, or `code`."""
        raise NotImplementedError

    @staticmethod
    def writes_in_vain(data, content):
        """Writes behind the end of our half: the file refuses it, a socket may not know yet."""
        try:
            os.write(data, content)
        except BrokenPipeError:
            pass

    def ends(self):
        """The ways to end our half: (name, function of connection and data, errnos of a write afterwards, or None where
        a write is not refused)."""
        raise NotImplementedError


class File(PlainSide):
    name = "file"
    own_opens = True
    bulk = 1

    def ask(self, connection, flags=0):
        return os.open(connection.dir / "data", os.O_RDWR | flags)

    def reads(self, code, told=False):
        return {code}

    def writes(self, code):
        return {errno.EPIPE, code}

    def ends(self):
        return [("close", _close, {errno.EPIPE})]


class _AnySocket(PlainSide):
    """What two sockets have in common: the companion hears a little later what the program did, and the end of our half
    is a shutdown as well."""

    def writes(self, code):
        return {errno.EPIPE, errno.ECONNRESET}

    def ends(self):
        return [("shutdown", _shutdown, {errno.EPIPE}), ("close", _close_heard, None)]


class Socket(_AnySocket):
    """A data socket, which is TCP. What breaks the stream resets it, and it tells that once: to a write, or to a
    read."""
    name = "socket"

    def ask(self, connection, flags=0):
        from .attach import Guest  # which knows the cases, and they know us

        guest = Guest(connection.mount.case, connection.mount.file("attach"))
        try:
            guest.say(f"socket {connection.number}")
            answer, attached = guest.hear()
        finally:
            guest.close()
        if answer != "ok":
            raise OSError(getattr(errno, answer.partition(" ")[0]), answer)
        [data] = attached
        os.set_blocking(data.fileno(), not flags & os.O_NONBLOCK)
        return data.detach()

    def reads(self, code, told=False):
        return {b""} if told else {errno.ECONNRESET}


class Given(_AnySocket):
    """One end of a socketpair, which is no TCP: what breaks the stream closes it. That the stream was cut short stands
    in `status` only."""
    name = "given"

    def ask(self, connection, flags=0):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            connection.say(f"plain {theirs.fileno()}")
            os.set_blocking(ours.fileno(), not flags & os.O_NONBLOCK)
            return ours.detach()

    def reads(self, code, told=False):
        # A Unix socket is reset by its other end when that had something left to read.
        return {b"", errno.ECONNRESET}


def _close(connection, _):
    connection.say("close")


def _close_heard(connection, data):
    _close(connection, data)
    _heard(connection)


def _shutdown(connection, data):
    with socket.socket(fileno=os.dup(data)) as copy:
        copy.shutdown(socket.SHUT_WR)
    _heard(connection)


def _heard(connection):
    """Waits until the companion knows of the end of our half."""
    until(lambda: connection.status()["State"] not in ("Established", "RemoteClosed"), "the companion knows of the end")


FILE, SOCKET, GIVEN = File(), Socket(), Given()


def not_over(*names, why):
    """A test that makes no sense over the plain sides of these names."""
    def mark(test):
        test.not_over = {name: why for name in names}
        return test
    return mark


def file_only(why):
    """A test that makes sense for the file alone."""
    return not_over(SOCKET.name, GIVEN.name, why=why)


def over_all_plain_sides(case):
    """Makes a class of tests over the file into three. The classes of the others are next to it in its module."""
    for side in (SOCKET, GIVEN) if engine.has_sockets else ():
        name = f"{case.__name__}Over{side.name.capitalize()}"
        left_out = [each for each in dir(case) if side.name in getattr(getattr(case, each), "not_over", ())]
        members = {"__module__": case.__module__, "__doc__": case.__doc__, "plain_side": side}
        made = type(name, (case,), members | dict.fromkeys(left_out))
        setattr(sys.modules[case.__module__], name, made)
    return case
