# SPDX-License-Identifier: MIT
"""What one table's run gave, and where it is kept: a JSON file a table, from which the document is written."""

import json
from dataclasses import asdict, dataclass, field

from .numbers import middle, ratios
from .rounds import Samples


@dataclass
class Result:
    table: str
    mode: str  # full, quick, smoke
    command: str
    when: str
    machine: dict
    rounds: int = 0
    seconds: float = 0
    titles: dict = field(default_factory=dict)  # contestant -> for readers, in order
    proxies: list = field(default_factory=list)
    versions: dict = field(default_factory=dict)  # title -> version
    left_out: dict = field(default_factory=dict)  # title -> why
    failed: dict = field(default_factory=dict)  # "contestant case" -> why
    samples: dict = field(default_factory=dict)  # see Samples
    scale: dict = field(default_factory=dict)
    facts: dict = field(default_factory=dict)

    def of(self, case, contestant, metric):
        return Samples(self.samples).of(case, contestant, metric)

    def middle(self, case, contestant, metric):
        return middle(self.of(case, contestant, metric))

    def ratio(self, case, metric, above, below):
        """Round by round."""
        return ratios(self.of(case, above, metric), self.of(case, below, metric))

    def best_proxy(self, case, metric, better=max):
        """The proxy with the best median; None where there is none."""
        found = {proxy: self.middle(case, proxy, metric) for proxy in self.proxies}
        found = {proxy: value for proxy, value in found.items() if value is not None}
        return better(found, key=found.get) if found else None

    def to_best_proxy(self, case, metric, better=max, contestant="tlsfs"):
        proxy = self.best_proxy(case, metric, better)
        return self.ratio(case, metric, contestant, proxy) if proxy else []


def save(result, directory):
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{result.table}.json"
    path.write_text(json.dumps(asdict(result), indent=1) + "\n")
    return path


def load(directory, table):
    path = directory / f"{table}.json"
    return Result(**json.loads(path.read_text())) if path.exists() else None
