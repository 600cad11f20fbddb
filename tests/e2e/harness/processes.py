# SPDX-License-Identifier: MIT
"""What /proc tells about processes."""

import os


def stat_fields(pid):
    """The fields of /proc/PID/stat behind the name: state, parent, group, …; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def state(pid):
    fields = stat_fields(pid)
    return fields[0] if fields else None


def descendants(pid):
    """All processes below `pid`, children first."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := stat_fields(name)):
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(0), [])
        found += below
        todo += below
    return found


def command(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="latin-1") as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="latin-1") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def mapped(pid):
    """The files that the process has mapped."""
    with open(f"/proc/{pid}/maps", encoding="latin-1") as file:
        return {line.split()[5] for line in file if len(line.split()) > 5}


def memory_has(pid, needles):
    """Which of the byte strings `needles` (name -> bytes) stand somewhere in the process's writable memory."""
    found = set()
    with open(f"/proc/{pid}/maps", encoding="latin-1") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            where, permissions = line.split()[:2]
            if "rw" not in permissions or "[v" in line:
                continue
            start, end = (int(part, 16) for part in where.split("-"))
            for block in _blocks(memory, start, end, max(map(len, needles.values()))):
                found.update(name for name, needle in needles.items() if needle in block)
    return found


def _blocks(memory, start, end, overlap, step=1 << 24):
    """The bytes of a range, with an overlap, so that no needle hides on a boundary; holes are left out, and a
    sanitizer's shadow."""
    if end - start > 1 << 36:
        return
    for at in range(start, end, step):
        try:
            memory.seek(at)
            yield memory.read(min(step + overlap, end - at))
        except (OSError, ValueError, OverflowError):
            continue
