# SPDX-License-Identifier: MIT
"""One measurement: the client program with one load, and what it and all others used meanwhile."""

import contextlib
import json
import select
import subprocess
import time

from .scene import NAME, Failed
from .usage import cpu_seconds


class Client:
    """programs/client.cc. `wait_until_ready`, `go`, `result`, `end`; as a context manager it is never left running."""

    def __init__(self, scene, arguments, patience):
        self.patience = patience
        argv = [scene.program("client"), "--name", NAME, "--patience", str(patience), *map(str, arguments)]
        self.errors = open(scene.directory / "client.log", "w+b")
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        start_new_session=True, bufsize=0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.errors.close()

    def _line(self):
        # Its own alarm ends it; a program that even SIGALRM cannot end must not hold us up either.
        if not select.select([self.process.stdout], [], [], self.patience + 10)[0]:
            raise Failed("the client does not answer")
        return self.process.stdout.readline().decode()

    def _fail(self):
        self.process.wait(self.patience)
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip()
        raise Failed(f"the client ended with {self.process.returncode}: {said or 'it took too long'}")

    def wait_until_ready(self):
        if self._line() != "ready\n":
            self._fail()

    def go(self):
        self.process.stdin.write(b"go\n")

    def result(self):
        line = self._line()
        if not line:
            self._fail()
        return json.loads(line)


def client_arguments(contestant, load, options):
    words = ["--load", load, *contestant.arguments()]
    for name, value in options.items():
        words += [f"--{name}", value]
    return words


def measure(scene, contestant, endpoint, load, patience=60, **options):
    """The client's own result, `cpu` summed over client and contestant, `endpoint` apart."""
    with Client(scene, client_arguments(contestant, load, options), patience) as client:
        client.wait_until_ready()
        before = [cpu_seconds(sessions) for sessions in (contestant.sessions, endpoint.sessions)]
        client.go()
        result = client.result()
        after = [cpu_seconds(sessions) for sessions in (contestant.sessions, endpoint.sessions)]
    result["client"] = result["cpu"]
    result["cpu"] += after[0] - before[0]
    result["endpoint"] = after[1] - before[1]
    return result


def breathe():
    """Between two measurements: what the last one left to be done (closing, freeing) is not the next one's."""
    time.sleep(0.02)
