# SPDX-License-Identifier: MIT
"""Waiting for something to become true, and work in the background."""

import threading
import time

from .config import TIMEOUT


def until(condition, what, timeout=None):
    """Waits until `condition()` is true and returns its value. The bound is against hanging, not a measure."""
    deadline = time.monotonic() + (timeout or TIMEOUT)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(0.02)


def settles(measure, seconds=0.5):
    """Waits until `measure()` gives something true that has not changed for a while; returns it."""
    deadline = time.monotonic() + TIMEOUT
    last, since = None, time.monotonic()
    while True:
        now = measure()
        if now != last:
            last, since = now, time.monotonic()
        elif now and time.monotonic() - since > seconds:
            return now
        if time.monotonic() > deadline:
            raise AssertionError(f"never settled: {now}")
        time.sleep(0.05)


class Background:
    """A function that runs in a thread; result() is what it returns or raises."""

    def __init__(self, function, *args):
        self._function, self._args = function, args
        self._value, self._error = None, None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._value = self._function(*self._args)
        except BaseException as error:  # handed to who asks for the result
            self._error = error

    @property
    def running(self):
        return self._thread.is_alive()

    def result(self, timeout=None):
        self._thread.join(timeout or TIMEOUT)
        if self._thread.is_alive():
            raise AssertionError(f"{self._function} does not end")
        if self._error is not None:
            raise self._error
        return self._value
