# SPDX-License-Identifier: MIT
"""Runs the tables that were asked for."""

import resource
import signal
import sys

from . import document, options, results
from .rounds import say
from .scene import Failed, Scene
from .smoke import check_refusals, check_result
from .tables import TABLES


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def end(number, _):
    raise SystemExit(128 + number)


def kept(options):
    """The last results of all tables, in the document's order."""
    found = [results.load(options.results, name) for name in TABLES]
    return [result for result in found if result is not None]


def write_document(options):
    found = kept(options)
    if not found:
        raise Failed("there are no results of full runs yet")
    options.document.write_text(document.document(found))
    say(f"wrote {options.document}")


def run(options):
    for name in options.tables:
        with Scene(options) as scene:
            if options.guest:
                TABLES[name].in_guest(scene, options)
                return
            result = TABLES[name].run(scene, options)
            if options.mode == "smoke" and name == options.tables[0]:
                check_refusals(scene, options)
        results.save(result, options.results)
        print("\n".join(document.section(result)), flush=True)
        if options.mode == "smoke":
            check_result(result)
    if options.mode == "full":
        write_document(options)


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    chosen = options.parse()
    raise_descriptor_limit()
    try:
        if chosen.rewrite:
            write_document(chosen)
        else:
            run(chosen)
    except Failed as failure:
        say(failure)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
