# SPDX-License-Identifier: MIT
"""Hostile use, as tests: see storm.c. TLSVM_STORM=SECONDS makes it longer, TLSVM_SEED=N another one."""
import contextlib
import ctypes
import os
import subprocess

import compare
import harness
from harness import Agent, Connection, Ctl, Skip, wait_for, write_all
from suite import test


@test
def what_plain_kernel_tls_lacks(agent):
    """Tickets, truncation, close_notify: a plain kTLS socket fails all three, data none."""
    for case, socket, data in compare.compare(agent):
        assert not socket[0], f"{case}: the plain socket managed: {socket[1]}"
        assert data[0], f"{case}: {data[1]}"


class Failing:
    """The kernel's fault injection: lets the Nth allocation or user copy of the next call fail, for each N."""

    CAPABILITIES = "failslab", "fail_page_alloc", "fail_usercopy"

    def __init__(self):
        root = "/sys/kernel/debug"
        if not os.path.exists(f"{root}/failslab"):
            raise Skip("this kernel has no fault injection (tests/vm/run debug has)")
        for capability in self.CAPABILITIES:
            for knob, value in ("verbose", "0"), ("ignore-gfp-wait", "N"), ("min-order", "0"):
                path = f"{root}/{capability}/{knob}"
                if os.path.exists(path):  # a file that is not there must not be created: EACCES
                    with open(path, "w") as file:
                        file.write(value)
        self.fd = os.open("/proc/thread-self/fail-nth", os.O_RDWR)

    def each(self, operation, limit=300):
        """How many different places failed, until a call met none."""
        for number in range(1, limit):
            os.pwrite(self.fd, str(number).encode(), 0)
            with contextlib.suppress(OSError):
                operation()
            try:
                left = int(os.pread(self.fd, 20, 0))
            except OSError:  # the operation did not use it up, this read did
                left = 1
            self.disarm()
            if left:
                return number - 1
        return limit

    def disarm(self):
        for _ in range(2):  # the write itself may be what fails
            with contextlib.suppress(OSError):
                os.pwrite(self.fd, b"0", 0)


@test
def failing_allocations(agent):
    """Every allocation and user copy of the module fails once, in each call; all unwinds."""
    failing = Failing()
    counts = {}

    def open_and_close():
        os.close(os.open("/dev/tls", os.O_RDWR))

    counts["open"] = failing.each(open_and_close)
    ctl = Ctl(agent)
    ctl.name()
    counts["ctl write"] = failing.each(lambda: os.write(ctl.fd, b"verify none\n"))
    other = Ctl(agent)
    counts["ctl read"] = failing.each(lambda: os.read(other.fd, 100))
    other.close()
    ctl.close()

    connection = Connection(agent)
    node = connection.node("data")
    counts["data open"] = failing.each(lambda: os.close(os.open(node, os.O_RDWR)))
    counts["write"] = failing.each(lambda: os.write(connection.data, b"x" * 1000))
    connection.finish()
    connection = Connection(agent, tickets=50)  # kTLS gives a connection up when it cannot decrypt
    connection.peer.send(b"x")
    counts["read past tickets"] = failing.each(lambda: os.read(connection.data, 10))
    connection.finish()

    connections = [Connection(agent) for _ in range(25)]

    def close_one():
        connection = connections.pop()
        os.close(connection.data)
        connection.data = -1
        connection.close()

    counts["last close"] = failing.each(close_one, len(connections))
    print("places that failed:", ", ".join(f"{name} {count}" for name, count in counts.items()))

    agent.stop()
    device = lambda: os.close(os.open("/dev/tlsagent", os.O_RDWR))
    print("opening the agent's device:", failing.each(device))
    again = Agent()
    connection = Connection(again)
    write_all(connection.data, b"and it works")
    assert connection.peer.receive() == b"and it works"
    connection.finish()
    again.stop()


@test
def failing_loads(agent):
    """The module's init with each of its allocations failing."""
    failing = Failing()
    agent.stop()
    subprocess.run(["rmmod", "tlsdev"], check=True)

    def load():
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(harness.MODULE, os.O_RDONLY)
        try:
            if libc.syscall(313, fd, b"", 0) == 0:
                libc.syscall(176, b"tlsdev", os.O_NONBLOCK)
        finally:
            os.close(fd)

    print("places that failed:", failing.each(load, 2000))
    subprocess.run(["rmmod", "tlsdev"], capture_output=True)  # the unloading may be what failed last
    subprocess.run(["insmod", harness.MODULE], check=True)
    wait_for(lambda: os.path.exists("/dev/tls"))


@test
def storm(agent):
    agent.stop()
    seconds, seed = os.environ.get("TLSVM_STORM", "30"), os.environ.get("TLSVM_SEED", "1")
    subprocess.run([f"{harness.PROGRAMS}/storm", seconds, seed, harness.MODULE, f"{harness.PROGRAMS}/agent", harness.CERT,
                    harness.KEY], check=True)


storm.seconds = 3600
