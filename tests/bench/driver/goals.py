# SPDX-License-Identifier: MIT
"""Where we want to be, and whether we are."""

from dataclasses import dataclass

from .numbers import show_three, three


@dataclass
class Goal:
    """Met if the median of `values`, one a round, is on the right side of `limit`."""

    what: str
    sign: str  # "≥" or "≤"
    limit: float
    values: list
    unit: str = "×"

    @property
    def met(self):
        spread = three(self.values)
        if spread is None:
            return None
        return spread[1] >= self.limit if self.sign == "≥" else spread[1] <= self.limit

    def row(self):
        verdict = {True: "met", False: "**not met**", None: "not measured"}[self.met]
        return [self.what, f"{self.sign} {self.limit:g} {self.unit}", show_three(self.values), verdict]


HEADER = ["", "goal", "median (min … max)", ""]
