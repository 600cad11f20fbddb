#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bulk and a 64-byte echo through data against a plain kernel TLS socket.  tests/vm/run 6.1 --icount -- python3 tests/vm/bench.py"""
import subprocess
import sys

import harness

LIMITS = {"write": 1.05, "read": 1.05, "echo": 1.15}
UNITS = {"write": "ns/KiB", "read": "ns/KiB", "echo": "ns/echo"}


def run(what):
    """The least of the rounds: {"write": (elapsed, the client's own CPU)}."""
    output = subprocess.run([f"{harness.PROGRAMS}/bench", what, harness.CERT, harness.KEY], check=True, capture_output=True,
                            text=True).stdout
    best = {}
    for line in output.splitlines():
        name, elapsed, own = line.split()
        best[name] = min(best.get(name, (float("inf"),) * 2), (float(elapsed), float(own)))
    return best


def switches(pid):
    with open(f"/proc/{pid}/status") as file:
        return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)


def main():
    harness.make_certificate()
    agent = harness.Agent()
    run("socket")  # warm
    run("data")
    before = switches(agent.process.pid)
    connections = 1
    socket, data = run("socket"), run("data")
    after = switches(agent.process.pid)
    agent.stop()
    failed = False
    print(f"{'':8}{'socket':>10}{'data':>10}{'ratio':>8}{'limit':>8}")
    for name, limit in LIMITS.items():
        ratio = data[name][0] / socket[name][0]
        failed |= ratio > limit
        print(f"{name:8}{socket[name][0]:10.0f}{data[name][0]:10.0f}{ratio:8.3f}{limit:8.2f}  {UNITS[name]}, both ends")
        print(f"{'':8}{socket[name][1]:10.0f}{data[name][1]:10.0f}{data[name][1] / socket[name][1]:8.3f}{'':8}  the client's CPU alone")
    print(f"the agent was scheduled {after - before} times, for {connections} connection made and closed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
