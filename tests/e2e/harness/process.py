# SPDX-License-Identifier: MIT
"""A program in the background, in a process group of its own, with its output in files."""

import os
import signal
import subprocess

from .config import TIMEOUT
from .wait import until


class Process:
    """`stdin`, `stdout` may be descriptors or subprocess.PIPE; what is not redirected goes to `output()`."""

    _count = 0

    def __init__(self, case, argv, *, user=None, stdin=subprocess.DEVNULL, stdout=None, stderr=None, environment=None,
                 pass_fds=()):
        Process._count += 1
        self.argv = [str(part) for part in argv]
        self._out = case.logs / f"{Process._count:03}-{os.path.basename(self.argv[0])}.log"
        with open(self._out, "wb") as log:
            self._process = subprocess.Popen(
                user.wrap(self.argv) if user else self.argv, stdin=stdin, stdout=log if stdout is None else stdout,
                stderr=log if stderr is None else stderr, pass_fds=pass_fds, start_new_session=True,
                env={**os.environ, **(environment or {})})
        self.pid = self._process.pid

    @property
    def stdin(self):
        return self._process.stdin

    @property
    def stdout(self):
        return self._process.stdout

    def output(self):
        return self._out.read_text(errors="replace")

    def code(self):
        """The exit code; None while it runs."""
        return self._process.poll()

    def wait(self, timeout=None):
        try:
            return self._process.wait(timeout or TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{' '.join(self.argv)} does not end\n{self.output()}") from None

    def say(self, text):
        self._process.stdin.write(text.encode() if isinstance(text, str) else text)
        self._process.stdin.flush()

    def wait_for_output(self, text):
        def seen():
            if text in self.output():
                return True
            if self.code() is not None and text not in self.output():
                raise AssertionError(f"{self.argv[0]} ended with {self.code()} before {text!r}\n{self.output()}")
            return False
        until(seen, f"{text!r} from {' '.join(self.argv)}; it said\n{self.output()}")

    def signal(self, number):
        self._process.send_signal(number)

    def kill_group(self):
        """The end of it and of what it started."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.wait()
