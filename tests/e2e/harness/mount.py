# SPDX-License-Identifier: MIT
"""A companion with its mount."""

import os
import subprocess
import tempfile
from pathlib import Path

from .config import program
from .device import Connection
from .engine import engine
from .process import Process
from .users import open_fuse_to_users
from .wait import until


def is_mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return any(line.split()[4] == str(path) for line in file)


class Mount:
    """A system mount when started by root for all; a private one when `user` is given."""

    def __init__(self, case, *options, user=None, path=None, environment=None, wrap=()):
        self.case, self.user = case, user
        if user is not None:
            open_fuse_to_users()
        if path is None:
            path = tempfile.mkdtemp(prefix="tls-", dir=case.dir)
            os.chmod(path, 0o755)
            if user is not None:
                user.own(path)
        self.path = Path(path)
        argv = [*wrap, program("tlsfs"), "-f", *options, self.path]
        self.process = Process(case, argv, user=user, environment=environment)
        self.pid = self.process.pid
        self.ended = False
        # The module has one agent at a time: the first system mount.
        self.is_agent = engine.name == "kernel" and user is None and not any(each.is_agent for each in self._living(case))
        case.mounts.append(self)

    @staticmethod
    def _living(case):
        return [each for each in case.mounts if each.process.code() is None]

    def wait_until_ready(self):
        def ready():
            if self.process.code() is not None:
                raise AssertionError(f"tlsfs ended with {self.process.code()}: {self.process.output()}")
            return is_mounted(self.path) and self._answers()
        until(ready, f"{self.path}/engines; tlsfs said: {self.process.output()}")

    def _answers(self):
        """`clone` appears last; it may still be a dead companion's, who cannot answer a read of `engines`."""
        look = ["sh", "-c", f"test -e '{self.file('clone')}' && cat '{self.file('engines')}'"]
        done = subprocess.run(self.user.wrap(look) if self.user else look, capture_output=True)
        return done.returncode == 0

    def file(self, name):
        return str(self.path / name)

    def read(self, name):
        return (self.path / name).read_text()

    def connection(self, flags=0):
        """A new connection of this process, closed when the test ends."""
        connection = Connection(self, flags)
        self.case.addCleanup(connection.close)
        return connection

    def numbers(self):
        """The connections that may be seen."""
        return sorted(int(name) for name in os.listdir(self.path) if name.isdigit())

    def wait_until_empty(self):
        until(lambda: not self.numbers(), "all connections gone")

    def signal(self, number):
        self.process.signal(number)

    def stop(self):
        """SIGTERM must end it cleanly and soon, whatever was open. Does nothing when the test ended it itself."""
        if self.ended:
            return
        self.ended = True
        try:
            if self.process.code() is None:
                self.process.signal(15)
            code = self.process.wait()
            self.case.assertEqual(code, 0, f"tlsfs ended with {code}: {self.process.output()}")
            self.case.assertFalse(is_mounted(self.path), "a stale mount stayed behind")
        finally:
            self.clean_up()

    def clean_up(self):
        """Leaves nothing, by force."""
        self.ended = True
        self.process.kill_group()
        while is_mounted(self.path):
            if subprocess.run(["umount", "-l", str(self.path)], capture_output=True).returncode != 0:
                break
