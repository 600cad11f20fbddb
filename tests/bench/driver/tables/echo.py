# SPDX-License-Identifier: MIT
"""Round trips of small messages, one at a time."""

from ..contestants import all_of
from ..goals import Goal
from ..job import measure
from ..numbers import show, show_three, table
from .base import Table

SIZES = {"64 B": 64, "4 KiB": 4096}
METRICS = {"median": "median", "p99": "99 %", "p999": "99.9 %"}


class Echo(Table):
    name = "echo"
    title = "Round trips"
    scales = {
        "full": {"rounds": 9, "count": 20000},
        "quick": {"rounds": 2, "count": 3000},
        "smoke": {"rounds": 1, "count": 100},
    }

    def measure(self, scene, options, result):
        def one(case, contestant, endpoint):
            got = measure(scene, contestant, endpoint, "echo", block=SIZES[case], count=result.scale["count"])
            return {**{metric: got[metric] for metric in METRICS}, "cpu": got["cpu"] / result.scale["count"] * 1e6}

        self.interleave(scene, result, all_of(options), list(SIZES), one)

    def render(self, result):
        lines = ["**Microseconds a round trip** (medians of the rounds' figures; CPU is that of all processes but the "
                 "endpoint)", ""]
        header = [""] + [f"{size}, {what}" for size in SIZES for what in (*METRICS.values(), "CPU")]
        lines += table(header, [
            [title, *(show(result.middle(size, key, metric)) for size in SIZES for metric in (*METRICS, "cpu"))]
            for key, title in result.titles.items()])
        for key in ("socket", "tlsfs"):
            lines += ["", f"**{result.titles.get(key, key)} against others**: ratio of times, median (minimum … maximum) of "
                      "the rounds", ""]
            lines += table(["", "to the program", "to the best proxy", "which"], [
                [f"{size}, {what}", show_three(result.ratio(size, metric, key, "program")),
                 show_three(result.to_best_proxy(size, metric, min, key)),
                 result.titles.get(result.best_proxy(size, metric, min), "–")]
                for size in SIZES for metric, what in METRICS.items()])
        return lines

    def goals(self, result):
        goals = []
        for size in SIZES:
            goals += [
                Goal(f"echo {size}, data socket to the best proxy", "≤", 0.65,
                     result.to_best_proxy(size, "median", min, "socket")),
                Goal(f"echo {size}, data socket to the program", "≤", 0.85,
                     result.ratio(size, "median", "socket", "program")),
                Goal(f"echo {size}, 99.9 %, data socket to the best proxy's", "≤", 0.9,
                     result.to_best_proxy(size, "p999", min, "socket")),
                Goal(f"echo {size}, `data` to the best proxy", "≤", 0.85, result.to_best_proxy(size, "median", min)),
            ]
        return goals
