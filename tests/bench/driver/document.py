# SPDX-License-Identifier: MIT
"""docs/BENCHMARKS.md, and the same on the terminal for one table."""

from . import goals
from .numbers import table
from .prose import HEAD, NOTES
from .tables import TABLES


def section(result):
    """One table, with its goals."""
    what = TABLES[result.table]
    lines = [f"## {what.title}", "", *NOTES[result.table].strip().splitlines(), ""]
    lines += [f"`{result.command}`, {result.when}, {result.rounds} round{'s' if result.rounds != 1 else ''}, "
              f"{result.seconds:.0f} s. tlsfs at {result.machine['commit']}; load of the machine before: "
              f"{result.machine['load']}."]
    for title, reason in result.left_out.items():
        lines.append(f"Left out: {title}, {reason}.")
    for where, reason in result.failed.items():
        lines.append(f"No figure: {where}: {reason}.")
    lines += ["", *what.render(result), ""]
    rows = [goal.row() for goal in what.goals(result)]
    if rows:
        lines += ["**Goals**", "", *table(goals.HEADER, rows), ""]
    return lines


def machine(results):
    newest = max(results, key=lambda result: result.when)
    versions = {title: version for result in results for title, version in result.versions.items()}
    rows = [["processor", newest.machine["processor"]], ["memory", newest.machine["memory"]],
            ["system", newest.machine["system"]], *([title, version] for title, version in versions.items())]
    others = {result.machine["processor"] for result in results} - {newest.machine["processor"]}
    lines = table(["", ""], rows)
    if others:
        lines += ["", f"Some tables are of another machine: {', '.join(sorted(others))}."]
    return lines


def summary(results):
    rows = [goal.row() for result in results for goal in TABLES[result.table].goals(result)]
    met = sum(1 for row in rows if row[-1] == "met")
    return [f"{met} of {len(rows)} goals are met.", "", *table(goals.HEADER, rows)]


def document(results):
    """All of it, as text."""
    missing = [name for name in TABLES if name not in {result.table for result in results}]
    lines = [*HEAD.strip().splitlines(), "", "## The machine", "", *machine(results), ""]
    lines += ["## Goals", "", *summary(results), ""]
    if missing:
        lines += [f"Not measured yet: {', '.join(missing)}.", ""]
    for result in results:
        lines += section(result)
    return "\n".join(lines).rstrip() + "\n"
