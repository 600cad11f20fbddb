# SPDX-License-Identifier: MIT
"""Handshakes a second, on either side."""

from ..contestants import OpensslProgram, companions, ours
from ..contestants.servers import OpensslServer, TlsfsServer
from ..endpoint import Endpoint
from ..goals import Goal
from ..job import client, conduct
from ..numbers import ratios, show, show_three, table
from ..rounds import run_rounds
from ..scene import Failed
from .base import Table

SIDES = ("client", "server")
KINDS = {"full": 0, "resumed": 1}
THREADS = {"one at a time": 1, "eight at a time": 8}


class Handshakes(Table):
    name = "handshakes"
    title = "Handshakes"
    scales = {
        "full": {"rounds": 9, "milliseconds": 1500},
        "quick": {"rounds": 2, "milliseconds": 300},
        "smoke": {"rounds": 1, "milliseconds": 600},
    }

    def measure(self, scene, options, result):
        endpoint = Endpoint(scene)
        for side in SIDES:
            if side == "client":
                contestants = [*ours(options), OpensslProgram()]
            else:
                contestants = [*(TlsfsServer(each.build, each.key, each.title) for each in companions(options)),
                               OpensslServer()]

            def one(case, contestant, side=side):
                _, kind, threads = case.split(" ", 2)
                program = client(scene, contestant.arguments(), "handshakes", resume=KINDS[kind],
                                 threads=THREADS[threads], milliseconds=result.scale["milliseconds"])
                got = conduct(program, service=contestant.sessions)
                share = got["resumed"] / got["count"]
                if share < 0.5 if kind == "resumed" else share > 0:
                    raise Failed(f"{share:.0%} of the sessions were resumed")
                cpu = got["service"] + (got["own"] if side == "client" else 0)
                return {"rate": got["count"] / got["seconds"], "cpu": cpu / got["count"] * 1e6, "resumed": share}

            with self.contest(scene, result, contestants, endpoint.port) as ready:
                cases = [f"{side} {kind} {threads}" for kind in KINDS for threads in THREADS]
                samples, failed = run_rounds(self.name, result.rounds, cases, ready, one)
            result.samples.update(samples.values)
            result.failed.update(failed)
        result.titles["program"] = "program with its SSL_CTX"
        result.facts["not for"] = {case: ["socket"] for case in result.samples if case.startswith("server")}
        scene.stop(endpoint.service)

    def render(self, result):
        header = [""]
        for title in result.titles.values():
            header += [f"{title}, a second", "CPU µs each"]
        lines = table([*header, "tlsfs to the program"], [
            [case, *(show(result.middle(case, key, metric)) for key in result.titles for metric in ("rate", "cpu")),
             show_three(result.ratio(case, "rate", self.entrant(case), "program"))]
            for case in result.samples])
        lines += ["", "**Resumed to full**: ratio of handshakes a second", ""]
        lines += table(["", *result.titles.values()], [
            [f"{side} {threads}", *(show_three(self.gain(result, side, threads, key)) for key in result.titles)]
            for side in SIDES for threads in THREADS])
        shares = [share for case in result.samples.values() for metrics in case.values() for share in metrics["resumed"]
                  if share > 0]
        if shares:
            lines += ["", f"Of those that should resume, {min(shares):.1%} to {max(shares):.1%} did."]
        return lines

    @staticmethod
    def gain(result, side, threads, key):
        resumed, full = (result.of(f"{side} {kind} {threads}", key, "rate") for kind in ("resumed", "full"))
        return ratios(resumed, full)

    @staticmethod
    def entrant(case):
        """A client has a data socket. The server opens the files."""
        return "socket" if case.startswith("client") else "tlsfs"

    def goals(self, result):
        return [Goal(f"handshakes, {case}, to the program", "≥", 0.85 if " full " in case else 0.7,
                     result.ratio(case, "rate", self.entrant(case), "program")) for case in result.samples]
