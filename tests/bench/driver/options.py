# SPDX-License-Identifier: MIT
"""The command line."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from .scene import ROOT
from .tables import TABLES


@dataclass
class Options:
    tables: list
    mode: str
    rounds: int
    build: Path  # whose tlsfs and tlsclient are measured
    programs: Path  # where the programs of tests/bench are
    also: dict  # name -> another build directory
    results: Path
    document: Path
    rewrite: bool
    certificates: str
    guest: bool
    command: str


def parse(argv=None):
    parser = argparse.ArgumentParser(
        prog="tools/bench", description="Measures tlsfs beside what it replaces, and writes docs/BENCHMARKS.md.")
    parser.add_argument("tables", nargs="*", metavar="NAME", help=f"only these tables: {', '.join(TABLES)}")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--full", action="store_true", help=argparse.SUPPRESS)
    how.add_argument("--quick", action="store_true", help="a first answer in two minutes; the document stays as it is")
    how.add_argument("--smoke", action="store_true", help="see that everything works; judges no speed")
    how.add_argument("--document", action="store_true", help="only write the document, from the last full runs")
    parser.add_argument("--rounds", type=int, default=0, help="how often each measurement is repeated")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=BUILD",
                        help="measure the tlsfs of another build directory too")
    parser.add_argument("--build", type=Path, default=ROOT / "build-bench", help=argparse.SUPPRESS)
    parser.add_argument("--programs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--certificates", help=argparse.SUPPRESS)
    parser.add_argument("--guest", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args(argv)
    for name in said.tables:
        if name not in TABLES:
            parser.error(f"there is no table {name!r}: {', '.join(TABLES)}")
    also = {}
    for word in said.also:
        name, sign, directory = word.partition("=")
        if not sign or not name:
            parser.error(f"--also {word}: NAME=BUILD is expected")
        also[name] = Path(directory).resolve()
    mode = "quick" if said.quick else "smoke" if said.smoke else "full"
    build = said.build.resolve()
    return Options(
        tables=said.tables or list(TABLES), mode=mode, rounds=said.rounds, build=build,
        programs=said.programs or ROOT / "build-bench" / "tests" / "bench", also=also,
        results=build / "results" / mode, document=ROOT / "docs" / "BENCHMARKS.md",
        rewrite=said.document, certificates=said.certificates, guest=said.guest,
        command=" ".join(["tools/bench", *(sys.argv[1:] if argv is None else argv)]))
