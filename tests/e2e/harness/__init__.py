# SPDX-License-Identifier: MIT
"""What every end-to-end test is made of.

A test talks to tlsfs only through its mount and its commands, so that the same tests judge every engine.
"""

from .case import Case, needs_root, slow, concurrent
from .config import ENGINE, TIMEOUT, helper, program, scaled
from .engine import engine

__all__ = [
    "Case", "ENGINE", "TIMEOUT", "concurrent", "engine", "helper", "needs_root", "program", "scaled", "slow",
]
