# SPDX-License-Identifier: MIT
"""The one place that knows how the engines differ in what a program may see."""

import socket
import unittest

from .config import ENGINE


class Engine:
    """The engine under test. `user` can do everything; `kernel` only what kTLS can."""

    def __init__(self, name):
        self.name = name

    def expected(self, family, mount):
        """The engine that `status` must name for a connection whose transport is a socket of this family, or none."""
        tcp = family in (socket.AF_INET, socket.AF_INET6)
        return "kernel" if tcp and mount.is_agent else "user"

    @property
    def outlives_companion(self):
        """Do established connections go on when the companion is gone?"""
        return self.name == "kernel"

    @property
    def has_sockets(self):
        """Can the plaintext be a data socket, or a descriptor of the program's?"""
        return self.name == "user"

    @property
    def tells_before_reading(self):
        """Does `status` know of the peer's end before the program has read up to it?"""
        return self.name == "user"

    @property
    def rekeys(self):
        """Can keys be changed? kTLS can from Linux 6.14 on; the module cannot yet."""
        return self.name == "user"


engine = Engine(ENGINE)
needs_rekey = unittest.skipUnless(engine.rekeys, "this kernel's TLS cannot change keys")
