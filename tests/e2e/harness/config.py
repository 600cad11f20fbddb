# SPDX-License-Identifier: MIT
"""Where the programs are, and how patient the tests are. The runner says it by environment variables."""

import os
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("E2E_BUILD", HERE.parent.parent / "build")).resolve()
# What the tests of one run have in common lies here.
SHARED = Path(os.environ["E2E_SHARED"]) if "E2E_SHARED" in os.environ else None
ENGINE = os.environ.get("E2E_ENGINE", "user")

# Against hanging only; nothing asserts speed. A sanitizer's build may ask for more.
TIMEOUT = float(os.environ.get("E2E_PATIENCE", "30"))

# What only shows in bulk is tried with less of it on a slow machine.
SCALE = float(os.environ.get("E2E_SCALE", "1"))

PROGRAMS = {"tlsfs": "tlsfs/tlsfs", "tlsclient": "cmd/tlsclient", "tlssrv": "cmd/tlssrv", "tlstunnel": "cmd/tlstunnel", "tlsstat": "cmd/tlsstat",
            "tlskeyd": "tlsfs/keys/tlskeyd"}


def scaled(count):
    """That much, or the part of it that this machine is to try."""
    return max(1, int(count * SCALE))


def program(name):
    """The path of one of the product's own programs."""
    path = BUILD / PROGRAMS[name]
    if not path.exists():
        raise FileNotFoundError(f"{path} is not built")
    return str(path)


def sanitizer_flags(path):
    """The compiler's options for the sanitizers with which that program or library was built."""
    text = Path(path).read_bytes()
    return [flag for mark, flag in ((b"__asan_init", "-fsanitize=address,undefined"), (b"__tsan_init", "-fsanitize=thread"))
            if mark in text]


def sanitized(name):
    """Whether that program was built with a sanitizer: it looks into its own memory, and keeps what was freed."""
    return bool(sanitizer_flags(program(name)))


def helper(name):
    """The path of a program that meson built from tests/e2e/programs."""
    path = BUILD / "tests" / "e2e" / name
    if not path.exists():
        raise unittest.SkipTest(f"the helper program {name} is not built")
    return str(path)
