# SPDX-License-Identifier: MIT
"""Programs that fetch one page and end."""

from contextlib import ExitStack

from ..contestants import companions, started
from ..contestants.jobs import all_jobs, machine_store
from ..contestants.tlsfs import Tlsfs
from ..endpoint import Endpoint
from ..goals import Goal
from ..job import Program, conduct
from ..numbers import show, show_three, table
from ..rounds import run_rounds
from .base import Table

REQUEST = b"GET / HTTP/1.0\r\n\r\n"
PAGE = 1024  # bytes of the endpoint's answer, and headers
METRICS = {"wall": "wall", "cpu": "CPU"}


class Short(Table):
    name = "short"
    title = "Short jobs"
    scales = {
        "full": {"rounds": 7, "count": 200},
        "quick": {"rounds": 2, "count": 25},
        "smoke": {"rounds": 1, "count": 3},
    }

    def measure(self, scene, options, result):
        endpoint = Endpoint(scene)
        request = scene.new_path("request")
        request.write_bytes(REQUEST)
        count = result.scale["count"]

        def run(job, times):
            argv = [scene.program("repeat"), times, PAGE, request, scene.new_path("page"), *job.argv]
            return conduct(Program(scene, argv, 60, job.environment), service=job.sessions)

        def one(_, job):
            got = run(job, count)
            return {"wall": got["seconds"] / count * 1e3, "cpu": (got["own"] + got["service"]) / count * 1e3,
                    "service": got["service"] / count * 1e3}

        with ExitStack() as stack:
            ready, left_out = stack.enter_context(started(scene, endpoint.port, companions(options)))
            result.left_out.update(left_out)
            store = machine_store(scene)
            if store:
                companion = Tlsfs(options.build, ca=store)
                trusting, left_out = stack.enter_context(started(scene, endpoint.port, [companion]))
            else:
                trusting = []
                result.left_out["the machine's trust store"] = "it is not there (apt-get install ca-certificates)"
            jobs = all_jobs(scene, endpoint.port, ready, trusting[0] if trusting else None)
            for job in jobs:
                result.titles[job.key] = job.title
                if job.version:
                    result.versions[job.title.split(" -")[0].split(",")[0]] = job.version
                if job.prepare:
                    run(job.prepare, 1)
            samples, result.failed = run_rounds(self.name, result.rounds, ["one GET"], jobs, one)
            result.samples = samples.values
        scene.stop(endpoint.service)

    def render(self, result):
        case = "one GET"
        lines = ["**Milliseconds a job** (medians), and tlsclient against it: ratio, median (minimum … maximum) of the "
                 "rounds", ""]
        header = ["", "wall", "CPU", "of it the companion's", "tlsclient to this, wall", "tlsclient to this, CPU"]
        lines += table(header, [
            [title, *(show(result.middle(case, key, metric)) for metric in ("wall", "cpu", "service")),
             *(show_three(result.ratio(case, metric, "tlsclient", key)) for metric in METRICS)]
            for key, title in result.titles.items()])
        return lines

    def goals(self, result):
        return [Goal(f"one GET, {what}, tlsclient to `openssl s_client`", "≤", 0.5,
                     result.ratio("one GET", metric, "tlsclient", "s_client"))
                for metric, what in METRICS.items()]
