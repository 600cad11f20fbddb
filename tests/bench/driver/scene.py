# SPDX-License-Identifier: MIT
"""What a run has beside its contestants: a directory, certificates, processes. Leaves nothing behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
NAME = "server.test"  # what the certificates of the end-to-end tests are made out to


class Failed(Exception):
    """A contestant or a program of ours did not do what it should."""


def until(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"waited in vain for {what}")
        time.sleep(0.005)


class Service:
    """A program in the background, in a session of its own, which dies with us."""

    def __init__(self, scene, argv, **popen):
        self.name = os.path.basename(str(argv[0]))
        self.log = scene.new_path(f"{self.name}.log")
        popen.setdefault("stdout", subprocess.PIPE)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *map(str, argv)], stdin=subprocess.DEVNULL, stderr=log,
                start_new_session=True, **popen)
        self.session = self.process.pid
        scene.services.append(self)

    def wait_until(self, condition, what):
        def over():
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}: {self.said()}")
            return condition()
        try:
            until(over, what)
        except Failed as failure:
            raise Failed(f"{failure}; {self.name} said: {self.said()}") from None

    def said(self):
        return self.log.read_text(errors="replace")[-2000:].strip()

    def line(self):
        """The first line that it prints."""
        return self.process.stdout.readline().decode()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.session, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


class Scene:
    """Context manager. `certificates` is a directory with good.pem and so on; without one they are made."""

    def __init__(self, options):
        self.options = options
        self.services = []
        self._paths = 0
        self._given = options.certificates

    def __enter__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="tlsfs-bench-"))
        self.directory.chmod(0o755)
        try:
            self.certificates = Path(self._given) if self._given else make_certificates(self.directory / "certificates")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, signal.SIG_IGN) for number in signals]
        for service in reversed(self.services):
            service.stop()
        while self.mounts():
            if subprocess.run(["fusermount3", "-uz", self.mounts()[0]], capture_output=True).returncode != 0:
                print(f"{self.mounts()[0]} stays mounted", file=sys.stderr)
                return
        shutil.rmtree(self.directory, ignore_errors=True)
        for number, handler in zip(signals, before):
            signal.signal(number, handler)

    def mounts(self):
        """What is mounted below its directory."""
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            return [line.split()[4] for line in file if line.split()[4].startswith(f"{self.directory}/")]

    def new_path(self, name):
        """A path in the directory that was not given out before."""
        self._paths += 1
        return self.directory / f"{self._paths}-{name}"

    def certificate(self, name):
        return str(self.certificates / name)

    @property
    def ca(self):
        return self.certificate("ca.pem")

    def program(self, name):
        """One of our own, tests/bench/programs."""
        return str(self.options.programs / name)

    def stop(self, service):
        service.stop()
        self.services.remove(service)


def make_certificates(directory):
    """Those of the end-to-end tests: root, intermediate, leaf, all ECDSA on P-256."""
    sys.path.insert(0, str(ROOT / "tests" / "e2e"))
    from harness.certs import make_certificates as make
    directory.mkdir(parents=True)
    make(directory)
    return directory
