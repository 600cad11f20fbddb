# SPDX-License-Identifier: MIT
"""Everything in turns: what slows the machine down for a while must not hit one contestant alone."""

import os
import sys

from .job import breathe
from .scene import Failed


class Samples:
    """case -> contestant -> metric -> one value a round."""

    def __init__(self, values=None):
        self.values = values or {}

    def add(self, case, contestant, metrics):
        place = self.values.setdefault(case, {}).setdefault(contestant, {})
        for name, value in metrics.items():
            place.setdefault(name, []).append(value)

    def of(self, case, contestant, metric):
        """All rounds' values; empty where there are none."""
        return self.values.get(case, {}).get(contestant, {}).get(metric, [])


def run_rounds(table, rounds, cases, contestants, measure):
    """Calls measure(case, contestant) for each, interleaved; (samples, {contestant: why it has no figures})."""
    samples, failed = Samples(), {}
    for number in range(rounds):
        for index, case in enumerate(cases):
            progress(f"{table}: round {number + 1} of {rounds}, {case} ({index + 1} of {len(cases)})")
            turn = (number + index) % max(1, len(contestants))
            for contestant in contestants[turn:] + contestants[:turn]:
                if f"{contestant.key} {case}" in failed:
                    continue
                try:
                    metrics = measure(case, contestant)
                except Failed as failure:
                    failed[f"{contestant.key} {case}"] = str(failure)
                    say(f"{contestant.title}, {case}: {failure}")
                    continue
                samples.add(case, contestant.key, metrics)
                breathe()
    progress("")
    return samples, failed


def progress(text):
    """What is being done; on a terminal only, where it is overwritten. The guest's console is none."""
    if sys.stderr.isatty() and "TLSVM_MODULE" not in os.environ:
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def say(text):
    progress("")
    print(f"bench: {text}", file=sys.stderr, flush=True)
