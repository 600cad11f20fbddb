# SPDX-License-Identifier: MIT
"""Scripts for the shells that people have."""

SHELLS = {"bash": ["bash"], "dash": ["dash"], "busybox": ["busybox", "sh"]}


def run(case, which, script, *, mount=None, environment=None, **options):
    """Runs `script`; $TLSFS names the mount and $CA the trusted root. Any command that fails ends it."""
    variables = {"CA": case.certs.ca, "CERTS": str(case.certs.dir), **(environment or {})}
    if mount is not None:
        variables["TLSFS"] = str(mount.path)
    return case.run_program([*SHELLS[which], "-euc", script, which], environment=variables, **options)
