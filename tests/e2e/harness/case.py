# SPDX-License-Identifier: MIT
"""The base of all tests: a temporary directory, processes and mounts that are gone afterwards, and TLS peers."""

import contextlib
import faulthandler
import glob
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from . import certs, shell
from .config import TIMEOUT
from .engine import engine
from .mount import Mount
from .peers import Peer, client_context, echo, server_context, tcp_pair
from .plain import FILE
from .process import Process
from .users import ordinary_users
from .wait import Background

SANITIZER_REPORTS = (
    "ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:",
    "SUMMARY: UndefinedBehaviorSanitizer",
)


def _tag(name):
    def mark(test):
        test.tags = getattr(test, "tags", frozenset()) | {name}
        return test
    return mark


concurrent = _tag("concurrent")
slow = _tag("slow")


def needs_root(test):
    return unittest.skipUnless(os.geteuid() == 0, "only root can try this")(test)


class Case(unittest.TestCase):
    # What the plaintext of its connections is; see over_all_plain_sides.
    plain_side = FILE

    def setUp(self):
        faulthandler.enable()
        self.dir = Path(tempfile.mkdtemp(prefix="tlsfs-e2e-"))
        self.dir.chmod(0o755)
        self.logs = self.dir / "logs"
        self.logs.mkdir()
        self.logs.chmod(0o1777)
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.addCleanup(self._no_sanitizer_report)
        for sanitizer in ("ASAN", "UBSAN", "TSAN", "LSAN"):
            given = os.environ.get(f"{sanitizer}_OPTIONS", "")
            os.environ[f"{sanitizer}_OPTIONS"] = f"{given}:log_path={self.logs}/{sanitizer}".lstrip(":")
        self.certs = certs.certificates()
        self.mounts = []

    def _no_sanitizer_report(self):
        for path in glob.glob(f"{self.logs}/*"):
            text = Path(path).read_text(errors="replace")
            if any(report in text for report in SANITIZER_REPORTS):
                self.fail(f"a sanitizer's report in {os.path.basename(path)}:\n{text[:10_000]}")

    # Processes

    def spawn(self, argv, **options):
        """Starts a program that is killed with its group when the test ends. See Process."""
        process = Process(self, argv, **options)
        self.addCleanup(process.kill_group)
        return process

    def run_program(self, argv, *, user=None, environment=None, **options):
        """Runs a program to its end and returns it with its output as text."""
        if user is not None:
            argv = user.wrap(argv)
        if "stdin" not in options and "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run([str(part) for part in argv], capture_output=True, text=True, errors="replace",
                              timeout=TIMEOUT * 2, start_new_session=True,
                              env={**os.environ, **(environment or {})}, **options)

    def shell(self, which, script, **options):
        return shell.run(self, which, script, **options)

    def assertRan(self, done, message=""):
        self.assertEqual(done.returncode, 0, f"{message}\nstdout: {done.stdout}\nstderr: {done.stderr}")

    # Mounts and connections

    def mount(self, *options, **more):
        """A started companion with a mount of its own. See Mount."""
        mount = Mount(self, *options, **more)
        self.addCleanup(mount.stop)
        mount.wait_until_ready()
        return mount

    def users(self):
        return ordinary_users()

    def background(self, function, *arguments):
        return Background(function, *arguments)

    def peer(self, theirs, context, script, *, until=None, **options):
        """Runs `script(peer)` with one end of TLS in a thread. The socket is the peer's from here on, and closed when
        the script is done and the event `until` has come."""
        def run():
            with theirs:
                peer = Peer(theirs.fileno(), theirs.fileno(), context, **options)
                peer.handshake()
                result = script(peer)
                if until:
                    until.wait(TIMEOUT)
                return result
        return Background(run)

    def connect(self, mount, script=echo, *, lines=(), name=certs.NAME, leaf="good", pair=tcp_pair, context=None,
                ca="ca.pem"):
        """A verified client connection to a peer in this process: (connection, peer)."""
        ours, theirs = pair()
        with self._established() as established:
            peer = self.peer(theirs, context or server_context(self.certs, leaf), script, until=established)
            connection = mount.connection()
            with ours:
                if ca is not None:
                    connection.put("ca", self.certs.text(ca))
                connection.say(f"fd {ours.fileno()}", *lines, f"client {name}")
                self.assertEngine(connection, ours.family)
        return connection, peer

    def accept(self, mount, script=echo, *, lines=(), name=certs.NAME, leaf="good", pair=tcp_pair, context=None):
        """A server connection to a client in this process: (connection, peer)."""
        ours, theirs = pair()
        with self._established() as established:
            peer = self.peer(theirs, context or client_context(self.certs), script, until=established, name=name)
            connection = mount.connection()
            with ours:
                connection.put("cert", self.certs.text(f"{leaf}.pem"))
                connection.put("key", self.certs.text(f"{leaf}.key"))
                connection.say(f"fd {ours.fileno()}", *lines, "server")
                self.assertEngine(connection, ours.family)
        return connection, peer

    @contextlib.contextmanager
    def _established(self):
        """An event that has come when the block is left. A peer that is faster than we are may be done before our
        end is established; only the user engine takes a transport that is half closed by then."""
        event = threading.Event()
        if engine.name == "user":
            event.set()
        try:
            yield event
        finally:
            event.set()

    def assertEngine(self, connection, family=socket.AF_INET):
        """Every established connection must run on the engine that is under test. `family` is the transport's."""
        expected = engine.expected(family, connection.mount)
        status = connection.status()
        self.assertEqual(status.get("State"), "Established", status)
        self.assertEqual(status.get("Engine"), expected, status)

    def assertBroken(self, code, read, *arguments, told=False):
        """The call, a read of the plaintext, must say that the stream has failed with `code`, as far as the plain side
        can tell it. Has a write `told` of it already?"""
        try:
            said = read(*arguments)
        except OSError as error:
            said = error.errno
        codes = code if isinstance(code, tuple) else (code,)
        self.assertIn(said, set().union(*(self.plain_side.reads(each, told) for each in codes)))

    @staticmethod
    def refuses(function, *arguments):
        """Does the call fail?"""
        try:
            function(*arguments)
        except OSError:
            return True
        return False

    def assertErrno(self, code, function, *arguments):
        """The call must fail with `code`, or one of several codes; returns the error."""
        codes = code if isinstance(code, tuple) else (code,)
        with self.assertRaises(OSError) as caught:
            function(*arguments)
        names = [os.strerror(each) for each in codes]
        self.assertIn(caught.exception.errno, codes, f"{caught.exception}, not {names}")
        return caught.exception
