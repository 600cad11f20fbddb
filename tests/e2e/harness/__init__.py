# SPDX-License-Identifier: MIT
"""What every end-to-end test is made of.

A test talks to tlsfs only through its mount and its commands, so that the same tests judge every engine.
"""

from .case import Case, needs_root, slow, concurrent
from .config import ENGINE, TIMEOUT, helper, program, sanitized, scaled
from .engine import engine, needs_rekey
from .plain import file_only, not_over, over_all_plain_sides

__all__ = [
    "Case", "ENGINE", "TIMEOUT", "concurrent", "engine", "file_only", "helper", "needs_rekey", "needs_root", "not_over",
    "over_all_plain_sides", "program", "sanitized", "scaled", "slow",
]
