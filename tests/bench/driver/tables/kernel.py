# SPDX-License-Identifier: MIT
"""The kernel engine, in a virtual machine whose clock counts instructions."""

import json
import subprocess

from ..contestants import KernelSocket, OpensslProgram, Stunnel, Tlsfs, started
from ..endpoint import Endpoint
from ..goals import Goal
from ..job import measure
from ..numbers import show, show_three, table
from ..rounds import progress, run_rounds, say
from ..scene import ROOT
from .base import Table

MIB = 1 << 20
LOADS = {"sending": "send", "receiving": "receive", "sendfile": "sendfile", "echo 64 B": "echo"}
UNITS = {"echo 64 B": "µs a round trip"}
BULK_UNIT = "µs a MB"
MARK = "BENCH "


def contestants(options):
    return [KernelSocket(),
            Tlsfs(options.build, "data", "`data`, engine kernel", lines=["engine kernel"], needs="/dev/tlsagent"),
            Tlsfs(options.build, "user", "`data`, engine user", lines=["engine user"], flags=["--private"]),
            OpensslProgram(), Stunnel()]


def can_do(contestant, load):
    # SSL_sendfile is for OpenSSL's own kernel TLS, which Debian's does not have.
    return load != "sendfile" or contestant.key != "program"


def measure_here(scene, options, scale, rounds):
    """In the guest: what Kernel.measure gets as one line of JSON. Microseconds."""
    def one(case, contestant):
        load = LOADS[case]
        if not can_do(contestant, load):
            return {}
        if load == "echo":
            return {"time": measure(scene, contestant, endpoint, load, block=64, count=scale["echoes"])["seconds"]
                    / scale["echoes"] * 1e6}
        count = scale["mib"] * MIB
        got = measure(scene, contestant, endpoint, load, block=128 << 10, count=count, check=scale.get("check", 0))
        return {"time": got["seconds"] / count * 1e12}

    endpoint = Endpoint(scene, tickets=0, threads=1)
    with started(scene, endpoint.port, contestants(options)) as (ready, left_out):
        titles = {contestant.key: contestant.title for contestant in ready}
        samples, failed = run_rounds("kernel", rounds, list(LOADS), ready, one)
    scene.stop(endpoint.service)
    return {"samples": samples.values, "failed": failed, "titles": titles, "left_out": left_out}


class Kernel(Table):
    name = "kernel"
    title = "Engine kernel, in the guest"
    scales = {
        "full": {"rounds": 3, "releases": ["6.12", "7.3"], "mib": 16, "echoes": 1000, "seconds": 1500},
        "quick": {"rounds": 1, "releases": ["6.12"], "mib": 4, "echoes": 200, "seconds": 300},
        # On this machine's own kernel, with what that has.
        "smoke": {"rounds": 1, "releases": [], "mib": 1, "echoes": 10, "check": 1},
    }

    def measure(self, scene, options, result):
        if options.mode == "smoke":
            self.add(result, "here", measure_here(scene, options, result.scale, 1))
        for release in result.scale["releases"]:
            self.measure_guest(scene, options, result, release)

    def measure_guest(self, scene, options, result, release):
        certificates = options.results.parent / "certificates"  # the guest has a /tmp of its own
        subprocess.run(["rm", "-rf", certificates], check=True)
        subprocess.run(["cp", "-r", scene.certificates, certificates], check=True)
        guest = ["python3", "tests/bench/run", self.name, "--guest", f"--{options.mode}", "--rounds", result.rounds,
                 "--build", options.build, "--programs", options.programs, "--certificates", certificates]
        progress(f"kernel: {release} in the virtual machine")
        log = scene.new_path("guest.log")
        try:
            with open(log, "wb") as output:
                done = subprocess.run(
                    [ROOT / "tests" / "vm" / "run", release, "--icount", "--seconds", str(result.scale["seconds"]), "--",
                     *map(str, guest)], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                    timeout=result.scale["seconds"] + 300)
        except subprocess.TimeoutExpired:
            result.left_out[f"Linux {release}"] = "the guest did not end in time"
            return
        finally:
            progress("")
        text = log.read_text(errors="replace").replace("\r", "")
        line = next((line for line in text.splitlines() if line.startswith(MARK)), None)
        if line is None:
            say(text[-3000:])
            result.left_out[f"Linux {release}"] = f"the guest gave no figures (status {done.returncode})"
            return
        self.add(result, release, json.loads(line.removeprefix(MARK)))
        kernel = next((line for line in text.splitlines() if line.startswith("guest: ") and "up after" in line), "")
        result.versions[f"guest {release}"] = kernel.removeprefix("guest: ").partition(",")[0]

    @staticmethod
    def add(result, release, got):
        for case, samples in got["samples"].items():
            place = f"{release} {case}"
            result.samples[place] = {key: metrics for key, metrics in samples.items() if metrics}
            absent = [key for key, metrics in samples.items() if not metrics]
            result.facts.setdefault("not for", {})[place] = absent
        result.failed.update({f"{key}, Linux {release}": reason for key, reason in got["failed"].items()})
        result.titles.update(got["titles"])
        result.left_out.update(got["left_out"])

    @staticmethod
    def releases(result):
        return list(dict.fromkeys(case.split(" ", 1)[0] for case in result.samples))

    def render(self, result):
        lines = []
        for release in self.releases(result):
            lines += [f"**Linux {release}**: guest time of both ends, and its ratio to the plain kTLS socket's", ""]
            header = [""]
            for case in LOADS:
                header += [f"{case}, {UNITS.get(case, BULK_UNIT)}", "ratio"]
            lines += table(header, [[title, *self.cells(result, release, key)] for key, title in result.titles.items()])
            lines.append("")
        return lines[:-1]

    @staticmethod
    def cells(result, release, key):
        cells = []
        for case in LOADS:
            place = f"{release} {case}"
            cells += [show(result.middle(place, key, "time"), 4), show_three(result.ratio(place, "time", key, "ktls"))]
        return cells

    def goals(self, result):
        return [Goal(f"engine kernel, Linux {release}, {case}, to plain kTLS", "≤", 1.15 if load == "echo" else 1.05,
                     result.ratio(f"{release} {case}", "time", "data", "ktls"))
                for release in self.releases(result) for case, load in LOADS.items()]

    def in_guest(self, scene, options):
        scale = self.scales[options.mode]
        print(MARK + json.dumps(measure_here(scene, options, scale, options.rounds or scale["rounds"])), flush=True)

