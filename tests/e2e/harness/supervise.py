# SPDX-License-Identifier: MIT
"""Runs one test so that nothing of it survives: no process, no mount, however it ended.

The supervisor adopts whatever the test's processes orphan. When the test is over, or its time is, it kills all that
is left, takes the mounts away, and as a last resort aborts the FUSE connections under them: that alone frees a
process that waits for a dead companion in D state.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

from .processes import command, descendants, state

PR_SET_CHILD_SUBREAPER = 36
SKIPPED = 77


def supervise(name, directory, limit):
    """Runs the test and returns the exit code: 0, 1, or 77 when it was skipped (then `directory`/skipped says why)."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if child == 0:
        _run(name, directory)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        code = _wait(child, limit)
        left = _left_behind()
    finally:
        _remove_all(directory)
    if left:
        print(f"processes left behind: {', '.join(left)}")
        return code or 1
    return code


def _run(name, directory):
    """The test's own process; never returns."""
    code = 1
    try:
        result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0).run(
            unittest.defaultTestLoader.loadTestsFromName(name))
        if result.wasSuccessful() and result.testsRun:
            code = 0
        if code == 0 and result.skipped:
            with open(f"{directory}/skipped", "w", encoding="utf-8") as file:
                file.write(result.skipped[0][1])
            code = SKIPPED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)  # threads that still wait do not matter


def _wait(child, limit):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            if code < 0:
                print(f"the test died by {signal.Signals(-code).name}")
            return code if code in (0, SKIPPED) else 1
        if pid == 0:
            time.sleep(0.01)
    print(f"timed out after {limit:.0f} s", flush=True)
    os.kill(child, signal.SIGABRT)  # faulthandler prints where it hangs
    time.sleep(1)
    return 1


def _reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _living():
    _reap()
    return [pid for pid in descendants(os.getpid()) if state(pid) not in (None, "Z", "X")]


def _left_behind():
    """The names of processes that outlive the test; they get a moment to end by themselves."""
    deadline = time.monotonic() + 5
    while (living := _living()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [f"{command(pid)} ({state(pid)})" for pid in living]


def _mounts(directory):
    """(device, path) of what is mounted below the directory, innermost first."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            parts = line.split()
            if parts[4].startswith(f"{directory}/"):
                found.append((parts[2], parts[4]))
    return sorted(found, key=lambda mount: -len(mount[1]))


def _remove_all(directory):
    mounts = _mounts(directory)
    for attempt in range(50):
        living = _living()
        for pid in living:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not living:
            break
        if attempt == 25:
            _abort(mounts)
        time.sleep(0.05)
    for _, path in mounts:
        unmount = ["umount", "-l", path] if os.geteuid() == 0 else ["fusermount3", "-uz", path]
        subprocess.run(unmount, stderr=subprocess.DEVNULL)
    _reap()


def _abort(mounts):
    """Aborts FUSE connections; only root can."""
    with tempfile.TemporaryDirectory() as control:
        subprocess.run(["mount", "-t", "fusectl", "none", control], stderr=subprocess.DEVNULL)
        for device, _ in mounts:
            try:
                with open(f"{control}/{device.split(':')[1]}/abort", "w", encoding="ascii") as file:
                    file.write("1")
            except OSError as error:
                print(f"cannot abort {device}: {error}")
        subprocess.run(["umount", "-l", control], stderr=subprocess.DEVNULL)
