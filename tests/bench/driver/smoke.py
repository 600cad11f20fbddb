# SPDX-License-Identifier: MIT
"""What --smoke asserts, beyond that nothing failed: no speed, but that what is measured is what is said."""

from . import document
from .contestants import all_of, started
from .endpoint import Endpoint
from .job import client
from .scene import Failed


def check_refusals(scene, options):
    """Every contestant verifies: none may reach an endpoint with the certificate of a stranger."""
    endpoint = Endpoint(scene, leaf="stranger", groups="X25519:P-256")
    with started(scene, endpoint.port, all_of(options)) as (ready, _):
        for contestant in ready:
            try:
                with client(scene, contestant.arguments(), "echo", 20, block=64, count=1) as program:
                    program.wait_until_ready()
            except Failed:
                continue
            raise Failed(f"{contestant.title} talks to a stranger")
    scene.stop(endpoint.service)


def _numbers(value):
    if isinstance(value, dict):
        return [number for each in value.values() for number in _numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in _numbers(each)]
    return [value]


def check_result(result):
    """Everybody has a figure of everything, each a number; the text is complete."""
    if result.failed:
        raise Failed(f"{result.table}: {result.failed}")
    for case, contestants in result.samples.items():
        for key in result.titles:
            if key not in contestants and key not in result.facts.get("not for", {}).get(case, []):
                raise Failed(f"{result.table}: {key} has no figure of {case}")
    figures = _numbers(result.samples)
    if not figures or not all(isinstance(value, (int, float)) and value >= 0 for value in figures):
        raise Failed(f"{result.table}: some figures are no numbers")
    text = document.document([result])
    for title in result.titles.values():
        if title not in text:
            raise Failed(f"{result.table}: the document does not mention {title}")
