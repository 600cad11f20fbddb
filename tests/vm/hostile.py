# SPDX-License-Identifier: MIT
"""Hostile use, as tests: see storm.c. TLSVM_STORM=SECONDS makes it longer, TLSVM_SEED=N another one."""
import ctypes
import os
import subprocess
import sys

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


# Without letting go of Python's lock: an armed thread that waits for it would have its futex fail.
LIBC = ctypes.PyDLL(None, use_errno=True)


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
        sys.setswitchinterval(3600)  # nor be asked for the lock meanwhile

    def each(self, operation, limit=300):
        """How many different places failed, until a call met none. `operation` calls nothing but LIBC."""
        left = ctypes.create_string_buffer(20)
        for number in range(1, limit):
            text = str(number).encode()
            LIBC.pwrite(self.fd, text, len(text), 0)
            operation()
            got = LIBC.pread(self.fd, left, 19, 0)
            self.disarm()
            if got <= 0 or int(left.raw[:got]):  # the operation did not use it up, perhaps this read did
                return number - 1
        return limit

    def disarm(self):
        for _ in range(2):  # the write itself may be what fails
            LIBC.pwrite(self.fd, b"0", 1, 0)


@test
def failing_allocations(agent):
    """Every allocation and user copy of the module fails once, in each call; all unwinds."""
    failing = Failing()
    counts = {}

    def open_and_close(path):
        return lambda: LIBC.close(LIBC.open(path, os.O_RDWR))

    counts["open"] = failing.each(open_and_close(b"/dev/tls"))
    ctl = Ctl(agent)
    ctl.name()
    counts["ctl write"] = failing.each(lambda: LIBC.write(ctl.fd, b"verify none\n", 12))
    other = Ctl(agent)
    buffer = ctypes.create_string_buffer(1000)
    counts["ctl read"] = failing.each(lambda: LIBC.read(other.fd, buffer, 100))
    other.close()
    ctl.close()

    connection = Connection(agent)
    counts["data open"] = failing.each(open_and_close(connection.node("data").encode()))
    counts["write"] = failing.each(lambda: LIBC.write(connection.data, buffer, 1000))
    connection.finish()
    connection = Connection(agent, tickets=50)  # kTLS gives a connection up when it cannot decrypt
    connection.peer.send(b"x")
    counts["read past tickets"] = failing.each(lambda: LIBC.read(connection.data, buffer, 10))
    connection.finish()

    connections = [Connection(agent) for _ in range(60)]

    files = [(connection.data, connection.fd) for connection in connections]

    def close_one():
        for fd in files.pop():
            LIBC.close(fd)

    counts["last close"] = failing.each(close_one, len(connections))
    for connection in connections[:len(files)]:
        connection.finish()
    print("places that failed:", ", ".join(f"{name} {count}" for name, count in counts.items()))

    agent.stop()
    print("opening the agent's device:", failing.each(open_and_close(b"/dev/tlsagent")))
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
        fd = LIBC.open(harness.MODULE.encode(), os.O_RDONLY)
        if LIBC.syscall(313, fd, b"", 0) == 0:
            LIBC.syscall(176, b"tlsdev", os.O_NONBLOCK)
        LIBC.close(fd)

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
