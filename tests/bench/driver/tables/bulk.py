# SPDX-License-Identifier: MIT
"""Gigabytes a second, and what they cost."""

from ..contestants import all_of
from ..goals import Goal
from ..job import measure
from ..numbers import show, show_three, table
from .base import Table

MIB = 1 << 20
SIZES = {"4 KiB": 4 << 10, "16 KiB": 16 << 10, "128 KiB": 128 << 10, "1 MiB": MIB}
DIRECTIONS = {"sending": "send", "receiving": "receive"}


class Bulk(Table):
    name = "bulk"
    title = "Bulk"
    # MiB a measurement, by size of I/O.
    scales = {
        "full": {"rounds": 9, "mib": {"4 KiB": 96, "16 KiB": 256, "128 KiB": 512, "1 MiB": 512}},
        "quick": {"rounds": 2, "mib": {"4 KiB": 24, "16 KiB": 64, "128 KiB": 128, "1 MiB": 128}},
        "smoke": {"rounds": 1, "check": 1, "mib": {"4 KiB": 1, "16 KiB": 1, "128 KiB": 3, "1 MiB": 3}},
    }

    def measure(self, scene, options, result):
        mib = result.scale["mib"]
        check = result.scale.get("check", 0)

        def one(case, contestant, endpoint):
            direction, size = case.split(" ", 1)
            # Not a multiple of anything, so that the last piece is a small one.
            count = mib[size] * MIB + 5
            got = measure(scene, contestant, endpoint, DIRECTIONS[direction], block=SIZES[size], count=count,
                          check=check)
            gigabytes = count / 1e9
            return {"rate": gigabytes / got["seconds"], "cpu": got["cpu"] / gigabytes,
                    "own": got["own"] / gigabytes, "endpoint": got["endpoint"] / gigabytes}

        cases = [f"{direction} {size}" for direction in DIRECTIONS for size in SIZES]
        self.interleave(scene, result, all_of(options), cases, one)

    def render(self, result):
        lines = []
        for direction in DIRECTIONS:
            for metric, what in (("rate", "GB/s"), ("cpu", "CPU seconds a GB, all processes but the endpoint")):
                lines += [f"**{direction.capitalize()}, {what}** (medians)", ""]
                lines += table(["I/O of", *SIZES], [
                    [title, *(show(result.middle(f"{direction} {size}", key, metric)) for size in SIZES)]
                    for key, title in result.titles.items()])
                lines.append("")
        for key in ("socket", "tlsfs"):
            lines += [f"**{result.titles.get(key, key)} against others**: ratio of GB/s, median (minimum … maximum) of the "
                      "rounds", ""]
            lines += table(["", "to the program", "to the best proxy", "which"], [
                [case, show_three(result.ratio(case, "rate", key, "program")),
                 show_three(result.to_best_proxy(case, "rate", contestant=key)),
                 result.titles.get(result.best_proxy(case, "rate"), "–")] for case in result.samples])
            lines.append("")
        endpoint = [value for case in result.samples.values() for metrics in case.values()
                    for value in metrics["endpoint"]]
        if endpoint:
            lines += ["", f"The endpoint, which all share, is in none of these figures; it used {min(endpoint):.2f} to "
                          f"{max(endpoint):.2f} CPU seconds a GB."]
        return lines

    def goals(self, result):
        goals = []
        for direction, to_program in (("sending", 0.9), ("receiving", 0.8)):
            for size in SIZES:
                case = f"{direction} {size}"
                goals.append(Goal(f"bulk {size}, {direction}, data socket to the best proxy", "≥", 1.2,
                                  result.to_best_proxy(case, "rate", contestant="socket")))
                goals.append(Goal(f"bulk {size}, {direction}, data socket's CPU seconds a GB to the best proxy's", "≤", 1.0,
                                  result.to_best_proxy(case, "cpu", min, contestant="socket")))
                if SIZES[size] >= SIZES["16 KiB"]:
                    goals.append(Goal(f"bulk {size}, {direction}, data socket to SSL_write/SSL_read", "≥", to_program,
                                      result.ratio(case, "rate", "socket", "program")))
            goals.append(Goal(f"bulk 128 KiB, {direction}, `data` to the best proxy", "≥", 1.0,
                              result.to_best_proxy(f"{direction} 128 KiB", "rate")))
        return goals
