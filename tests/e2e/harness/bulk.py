# SPDX-License-Identifier: MIT
"""The helper programs of tests/e2e/programs, as the tests use them."""

import subprocess

from .certs import NAME
from .config import helper
from .peers import tcp_pair


def bulk_server(case, *arguments, leaf="good", pair=tcp_pair):
    """`tlspeer server` on one end of a new pair: (our end, process)."""
    ours, theirs = pair()
    with theirs:
        process = case.spawn([helper("tlspeer"), "server", case.certs(f"{leaf}.pem"), case.certs(f"{leaf}.key"), "--fd",
                              theirs.fileno(), *arguments], pass_fds=[theirs.fileno()])
    return ours, process


def bulk_client(case, *arguments, pair=tcp_pair):
    """`tlspeer client` on one end of a new pair: (our end, process)."""
    ours, theirs = pair()
    with theirs:
        process = case.spawn([helper("tlspeer"), "client", case.certs.ca, NAME, "--fd", theirs.fileno(), *arguments],
                             pass_fds=[theirs.fileno()])
    return ours, process


def client_of(case, mount, ours, *lines):
    """A client connection over `ours`."""
    connection = mount.connection()
    with ours:
        connection.put("ca", case.certs.text("ca.pem"))
        connection.say(f"fd {ours.fileno()}", *lines, f"client {NAME}")
    case.assertEngine(connection)
    return connection


def server_of(case, mount, ours, *lines, leaf="good"):
    """A server connection over `ours`."""
    connection = mount.connection()
    with ours:
        connection.put("cert", case.certs.text(f"{leaf}.pem"))
        connection.put("key", case.certs.text(f"{leaf}.key"))
        connection.say(f"fd {ours.fileno()}", *lines, "server")
    case.assertEngine(connection)
    return connection


def pattern(case, what, count, block=1 << 20, **descriptors):
    """`pattern write|check|both` on the given stdin and stdout."""
    return case.spawn([helper("pattern"), what, str(count), str(block)], **descriptors)


def echo_server(case, leaf="good"):
    """`tlspeer --listen`: an echo for any number of connections."""
    process = case.spawn([helper("tlspeer"), "server", case.certs(f"{leaf}.pem"), case.certs(f"{leaf}.key"), "--listen"],
                         stdout=subprocess.PIPE)
    process.port = int(process.stdout.readline().split()[1])
    return process
