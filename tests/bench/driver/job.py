# SPDX-License-Identifier: MIT
"""One measurement: a program of ours at work, and what it and all others used meanwhile."""

import contextlib
import json
import os
import select
import subprocess
import time

from .scene import NAME, Failed
from .usage import cpu_seconds


class Program:
    """One that prints "ready", waits for a line, and prints a result (programs/measure.h). Never left running."""

    def __init__(self, scene, argv, patience, environment=None):
        self.patience = patience
        self.errors = open(scene.new_path("client.log"), "w+b")
        self.process = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            start_new_session=True, bufsize=0, env={**os.environ, **(environment or {})})

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(0.1 if kind else self.patience)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process.stdout.close()
            self.errors.close()

    def _line(self):
        # The client has an alarm of its own; what even that cannot end must not hold us up either.
        if not select.select([self.process.stdout], [], [], self.patience + 10)[0]:
            raise Failed("no answer in time")
        return self.process.stdout.readline().decode()

    def _fail(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self.patience)
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip()
        raise Failed(f"it ended with {self.process.poll()}: {said[-500:] or 'it took too long'}")

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


def client(scene, arguments, load, patience=60, **options):
    """programs/client.cc, on its way to what `arguments` say."""
    argv = [scene.program("client"), "--name", NAME, "--patience", patience, "--load", load, *arguments]
    for name, value in options.items():
        argv += [f"--{name}", value]
    return Program(scene, argv, patience)


def conduct(program, **sessions):
    """Its result; `own`, its CPU; and by each name the CPU of those sessions, while it was at work."""
    with program:
        program.wait_until_ready()
        before = {name: cpu_seconds(each) for name, each in sessions.items()}
        program.go()
        result = program.result()
        for name, each in sessions.items():
            result[name] = cpu_seconds(each) - before[name]
    result["own"] = result.pop("cpu")
    return result


def measure(scene, contestant, endpoint, load, **options):
    """The client's result; `cpu` is its own and the contestant's, `endpoint` that of the endpoint."""
    result = conduct(client(scene, contestant.arguments(), load, **options), service=contestant.sessions,
                     endpoint=endpoint.sessions)
    result["cpu"] = result["own"] + result["service"]
    return result


def breathe():
    """Between two measurements: what the last one left to be done (closing, freeing) is not the next one's."""
    time.sleep(0.02)
