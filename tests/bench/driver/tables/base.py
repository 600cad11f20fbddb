# SPDX-License-Identifier: MIT
"""What a table is: it measures (run), and it says what came out (render, goals)."""

import time
from contextlib import contextmanager
from datetime import datetime, timezone

from ..contestants import started
from ..endpoint import Endpoint
from ..machine import describe
from ..results import Result
from ..rounds import run_rounds


class Table:
    name = ""
    title = ""
    scales = {}  # mode -> how much is measured

    def run(self, scene, options):
        when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        result = Result(self.name, options.mode, options.command, when, describe(),
                        scale=dict(self.scales[options.mode]))
        result.rounds = options.rounds or result.scale["rounds"]
        began = time.monotonic()
        self.measure(scene, options, result)
        result.seconds = time.monotonic() - began
        return result

    def measure(self, scene, options, result):
        """Fills in the result."""
        raise NotImplementedError

    def render(self, result):
        """The tables, as lines of Markdown."""
        raise NotImplementedError

    def goals(self, result):
        return []

    @contextmanager
    def contest(self, scene, result, contestants, port):
        """The contestants that can take part; `result` says who they are and who cannot."""
        with started(scene, port, contestants) as (ready, left_out):
            result.left_out.update(left_out)
            for contestant in ready:
                result.titles[contestant.key] = contestant.title
                version = contestant.version()
                if version:
                    result.versions[contestant.title] = version
            result.proxies = [contestant.key for contestant in ready if contestant.is_proxy]
            yield ready

    def interleave(self, scene, result, contestants, cases, measure):
        """The usual run: one endpoint, all contestants, all cases in rounds. measure(case, contestant, endpoint)."""
        # socat 1.7 knows no other group than P-256; all others take the first.
        endpoint = Endpoint(scene, groups="X25519:P-256")
        with self.contest(scene, result, contestants, endpoint.port) as ready:
            samples, failed = run_rounds(self.name, result.rounds, cases, ready,
                                         lambda case, contestant: measure(case, contestant, endpoint))
        scene.stop(endpoint.service)
        result.samples, result.failed = samples.values, failed
