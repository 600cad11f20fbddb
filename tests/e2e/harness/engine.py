# SPDX-License-Identifier: MIT
"""The one place that knows how the engines differ in what a program may see."""

import os

from .config import ENGINE


class Engine:
    """The engine under test. `user` can do everything; `kernel` only what kTLS can."""

    def __init__(self, name):
        self.name = name

    def expected(self, carrier="tcp", private=False):
        """The engine that `status` must name for such a connection."""
        return "kernel" if self.name == "kernel" and carrier == "tcp" and not private else "user"

    @property
    def rekeys(self):
        """Can the peer change its keys? kTLS can from Linux 6.14 on."""
        if self.name == "user":
            return True
        release = os.uname().release.split("-")[0].split(".")
        return (int(release[0]), int(release[1])) >= (6, 14)


engine = Engine(ENGINE)
