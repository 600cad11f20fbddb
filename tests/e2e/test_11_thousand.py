# SPDX-License-Identifier: MIT
"""Point 11: a thousand connections at once, from 64 processes, leave nothing behind: all is counted before and after."""

import os
import resource
import signal

from harness import Case, concurrent, engine, sanitized, scaled
from harness.bulk import echo_server
from harness.processes import descriptors, resident_kib, threads
from harness.wait import until

PROCESSES, EACH, ROUNDS = scaled(64), max(4, scaled(16)), 4

# An ordinary session's limits: few descriptors at first, more for who asks.
ORDINARY = ["bash", "-c", "ulimit -Sn 1024; exec \"$@\"", "bash"]


class Worker:
    """A process with EACH connections; it goes from one step to the next when it is told to."""

    def __init__(self, step):
        to_child, self._to = os.pipe()
        self._from, from_child = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self._to)
                for _ in step():
                    os.write(from_child, b"k")
                    if os.read(to_child, 1) != b"k":
                        break
                code = 0
            finally:
                os._exit(code)
        os.close(to_child)
        os.close(from_child)

    def wait_for_step(self):
        return os.read(self._from, 1) == b"k"

    def go_on(self):
        os.write(self._to, b"k")

    def end(self):
        _, status = os.waitpid(self.pid, 0)
        os.close(self._to)
        os.close(self._from)
        return os.waitstatus_to_exitcode(status)


class Thousand(Case):
    def steps(self, port):
        """What a worker does: opens its connections, uses them, closes half by close(2) and half by its end."""
        mount = self.tlsfs
        opened = []
        for _ in range(EACH):
            connection = mount.connection()
            connection.put("ca", self.ca)
            connection.say(f"dial 127.0.0.1:{port}", "client localhost")
            opened.append((connection, connection.data()))
        yield "opened"
        for number, (_, data) in enumerate(opened):
            os.write(data, b"%5d" % number * 200)
        for number, (_, data) in enumerate(opened):
            got = b""
            while len(got) < 1000:
                got += os.read(data, 1000)
            assert got == b"%5d" % number * 200, got
        yield "used"
        for connection, _ in opened[::2]:
            connection.close()

    def round(self, port):
        workers = [Worker(lambda: self.steps(port)) for _ in range(PROCESSES)]
        try:
            self.assertTrue(all([worker.wait_for_step() for worker in workers]), "all connections stand")
            self.assertEqual(len(self.tlsfs.numbers()), PROCESSES * EACH)
            most = self.measure()
            for worker in workers:
                worker.go_on()
            self.assertTrue(all([worker.wait_for_step() for worker in workers]), "all connections work")
            for worker in workers:
                worker.go_on()
            self.assertEqual({worker.end() for worker in workers}, {0})
        except BaseException:
            for worker in workers:
                try:
                    os.kill(worker.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            raise
        self.tlsfs.wait_until_empty()
        return most

    def measure(self):
        pid = self.tlsfs.pid  # bash has become tlsfs
        return descriptors(pid), threads(pid), resident_kib(pid)

    @concurrent
    def test_a_thousand_connections_leave_nothing_behind(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        server = echo_server(self)
        self.tlsfs = self.mount("--max-per-user", "2000", wrap=ORDINARY)
        self.ca = self.certs.text("ca.pem")
        before = self.measure()
        after = []
        for _ in range(ROUNDS):
            most = self.round(server.port)
            if engine.name == "user":
                self.assertGreaterEqual(most[0], PROCESSES * EACH, "the measure sees the connections")
            else:
                self.assertLess(most[0], before[0] + 100, "what the kernel carries costs the companion no descriptor")
            self.assertLess(most[1], 200, "no thread a connection")
            until(lambda: self.measure()[0] <= before[0], f"as many descriptors as before, {before[0]}")
            after.append(self.measure())
            print(f"descriptors, threads, KiB: before {before}, in the midst {most}, after {after[-1]}")
        until(lambda: self.measure()[1] <= before[1], f"as many threads as before, {before[1]}")
        if not sanitized("tlsfs"):
            # The allocator needs a round or two to find its level; a leak would go on. (A sanitizer finds small ones.)
            self.assertLess(after[-1][2] - after[1][2], 24 << 10, "memory grows from round to round")
        self.assertEqual(sorted(os.listdir(self.tlsfs.path)), ["attach", "ciphers", "clone", "engines"])
