# SPDX-License-Identifier: MIT
"""Finds the tests: their names, tags, and the sentences that their names are."""

import unittest
from dataclasses import dataclass

from .plain import FILE


@dataclass
class Test:
    name: str
    title: str
    tags: frozenset


def _flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from _flatten(item)
        else:
            yield item


def _describe(case):
    module, _, method = case.id().rsplit(".", 2)
    point = " ".join(module.split("_")[1:])
    if case.plain_side is not FILE:
        point += f" over {case.plain_side.name}"
    sentence = method.removeprefix("test_").replace("_", " ")
    function = getattr(case, method)
    return Test(case.id(), f"{point}: {sentence}", getattr(type(case), "tags", frozenset()) |
                getattr(function, "tags", frozenset()))


def collect(directory):
    """All tests of `test_*.py`, in order."""
    loader = unittest.TestLoader()
    suite = loader.discover(str(directory), pattern="test_*.py", top_level_dir=str(directory))
    if loader.errors:
        raise SystemExit("\n".join(loader.errors))
    return sorted((_describe(case) for case in _flatten(suite)), key=lambda test: test.name.split(".")[0])
