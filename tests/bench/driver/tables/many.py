# SPDX-License-Identifier: MIT
"""Many connections: all busy, and nearly all idle."""

import resource

from ..contestants import Haproxy, Nginx, OpensslProgram, Stunnel, ours
from ..endpoint import Endpoint
from ..goals import Goal
from ..job import client, measure
from ..numbers import show, show_three, table
from ..rounds import run_rounds
from ..usage import anonymous_bytes, kernel_bytes
from .base import Table

BLOCK = 16 << 10


def contestants(options):
    # Without socat, which is a process a connection.
    return [*ours(options), OpensslProgram(), Stunnel(), Haproxy(), Nginx()]


class Many(Table):
    name = "many"
    title = "Many connections"
    scales = {
        "full": {"rounds": 7, "busy": [1, 10, 100, 1000],
                 "milliseconds": {"1": 1000, "10": 1000, "100": 2000, "1000": 4000}, "idle": [100, 10000],
                 "idle rounds": 3, "wakes": 2000},
        "quick": {"rounds": 1, "busy": [1, 10, 100, 1000],
                  "milliseconds": {"1": 400, "10": 400, "100": 400, "1000": 1200}, "idle": [2000], "idle rounds": 1,
                  "wakes": 500},
        "smoke": {"rounds": 1, "busy": [1, 10], "milliseconds": {"1": 600, "10": 600}, "idle": [20], "idle rounds": 1,
                  "wakes": 20},
    }

    def measure(self, scene, options, result):
        self.measure_busy(scene, options, result)
        self.measure_idle(scene, options, result)

    def measure_busy(self, scene, options, result):
        def one(case, contestant, endpoint):
            connections = case.split()[0]
            got = measure(scene, contestant, endpoint, "busy", connections=connections, block=BLOCK,
                          milliseconds=result.scale["milliseconds"][connections])
            gigabytes = sum(got["blocks"]) * BLOCK / 1e9
            return {"rate": gigabytes / got["seconds"], "cpu": got["cpu"] / gigabytes,
                    "fairness": min(got["blocks"]) / max(got["blocks"])}

        self.interleave(scene, result, contestants(options), [f"{count} busy" for count in result.scale["busy"]], one)

    def measure_idle(self, scene, options, result):
        # Each with an endpoint and processes of its own, so that nobody's memory is left from before.
        def one(case, contestant):
            descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            count = min(int(case.split()[0]), contestant.most_connections(descriptors))
            endpoint = Endpoint(scene)
            contestant.start(scene, endpoint.port)
            try:
                return self.idle(scene, contestant, count, result.scale["wakes"])
            finally:
                contestant.stop(scene)
                scene.stop(endpoint.service)

        entrants = [contestant for contestant in contestants(options) if contestant.key in result.titles]
        samples, failed = run_rounds(f"{self.name}, idle", result.scale["idle rounds"],
                                     [f"{count} idle" for count in result.scale["idle"]], entrants, one)
        result.samples.update(samples.values)
        result.failed.update(failed)

    @staticmethod
    def idle(scene, contestant, count, wakes):
        with client(scene, contestant.arguments(), "idle", 120, connections=count, count=wakes) as program:
            program.wait_until_ready()
            # The program's connections are in its own memory, all others' in their services'.
            sessions = contestant.sessions or [program.process.pid]
            before, kernel_before = anonymous_bytes(sessions), kernel_bytes()
            program.go()
            program.wait_until_ready()
            after, kernel_after = anonymous_bytes(sessions), kernel_bytes()
            program.go()
            got = program.result()
        return {"connections": count, "memory": (after - before) / count / 1024,
                "kernel": max(0, kernel_after - kernel_before) / count / 1024, "open": got["open"] / count * 1e6,
                "median": got["median"], "p99": got["p99"]}

    @staticmethod
    def busy_cases(result):
        return [case for case in result.samples if case.endswith("busy")]

    @staticmethod
    def idle_cases(result):
        return [case for case in result.samples if case.endswith("idle")]

    def render(self, result):
        cases = self.busy_cases(result)
        lines = [f"**Busy**: blocks of {BLOCK >> 10} KiB on each, GB/s of all together; fairness is the slowest "
                 "connection's share of the fastest's; CPU seconds a GB (medians)", ""]
        header = ["", *(f"{case.split()[0]}{what}" for case in cases for what in ("", ", fairness", ", CPU"))]
        lines += table(header, [
            [title, *(show(result.middle(case, key, metric))
                      for case in cases for metric in ("rate", "fairness", "cpu"))]
            for key, title in result.titles.items()])
        for key in ("socket", "tlsfs"):
            lines += ["", f"**{result.titles.get(key, key)} against others, busy**: ratio of GB/s, median (minimum … maximum) "
                      "of the rounds", ""]
            lines += table(["", "to the program", "to the best proxy", "which"], [
                [case, show_three(result.ratio(case, "rate", key, "program")),
                 show_three(result.to_best_proxy(case, "rate", contestant=key)),
                 result.titles.get(result.best_proxy(case, "rate"), "–")] for case in cases])
        for case in self.idle_cases(result):
            lines += ["", f"**{case.capitalize()}** (medians)", ""]
            lines += table(["", "connections", "KiB each", "KiB of the kernel's", "µs to open each", "wake-up µs, median",
                            "99 %"], [
                [title, *(show(result.middle(case, key, metric), 5 if metric == "connections" else 3)
                          for metric in ("connections", "memory", "kernel", "open", "median", "p99"))]
                for key, title in result.titles.items()])
        return lines

    def goals(self, result):
        idle = [case for case in self.idle_cases(result) if int(case.split()[0]) >= 2000]
        goals = [Goal(f"{case}, memory of the companion each, data socket", "≤", 24, result.of(case, "socket", "memory"),
                      "KiB") for case in idle]
        if "1000 busy" in result.samples:
            goals += [
                Goal("1000 busy, data sockets together, to the best proxy", "≥", 1.0,
                     result.to_best_proxy("1000 busy", "rate", contestant="socket")),
                Goal("1000 busy, data sockets, slowest to fastest", "≥", 0.5, result.of("1000 busy", "socket", "fairness")),
            ]
        return goals
