# SPDX-License-Identifier: MIT
"""CPU time and memory of other processes."""

import os
import time


def _processes(session):
    """All processes of a session; ours give each service one."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="latin-1") as file:
                if int(file.read().rpartition(")")[2].split()[3]) == session:
                    yield int(name)
        except (FileNotFoundError, ProcessLookupError):
            pass


def _cpu_of_process(pid):
    # clock_getcpuclockid(3), which Python lacks: nanoseconds, all threads, those that have ended too.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def cpu_seconds(sessions):
    return sum(_cpu_of_process(pid) for session in sessions for pid in _processes(session))


def _anonymous_of_process(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="latin-1") as file:
            for line in file:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def anonymous_bytes(sessions):
    """Memory that is in use and is no file's: what connections make grow."""
    return sum(_anonymous_of_process(pid) for session in sessions for pid in _processes(session))


def kernel_bytes():
    """The whole machine's: slabs and what sockets hold. Only a difference on a quiet machine says something."""
    with open("/proc/meminfo", encoding="ascii") as file:
        slab = next(int(line.split()[1]) * 1024 for line in file if line.startswith("Slab:"))
    with open("/proc/net/sockstat", encoding="ascii") as file:
        pages = next(int(line.split()[-1]) for line in file if line.startswith("TCP:"))
    return slab + pages * os.sysconf("SC_PAGE_SIZE")
