#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A plain kernel TLS socket given to `cat`, and the module's data given to it.  tests/vm/run 6.1 -- python3 tests/vm/compare.py"""
import os
import ssl
import subprocess
import sys

import harness
from harness import Agent, Connection, Peer, in_thread, tcp_pair, wait_for


def over_socket(tickets, behaviour, command):
    """The command on a plain kTLS socket, against a peer that behaves so. Gives (process, what the peer said)."""
    ours, theirs = tcp_pair()
    peer = Peer(theirs, server=True, tickets=tickets)

    def play():
        peer.handshake()
        return behaviour(peer)

    thread = in_thread(play)
    process = subprocess.run([f"{harness.PROGRAMS}/ktlsrun", str(ours.fileno()), "sh", "-c", command],
                             pass_fds=[ours.fileno()], stderr=subprocess.PIPE, text=True)
    ours.close()
    return process, thread.finish()


def over_data(agent, tickets, behaviour, command):
    connection = Connection(agent, tickets=tickets)
    thread = in_thread(behaviour, connection.peer)
    process = subprocess.run(["sh", "-c", command], stdin=connection.data, stdout=connection.data, stderr=subprocess.PIPE,
                             text=True)
    os.close(connection.data)
    connection.close()
    return process, thread.finish()


def sends_and_ends(peer):
    peer.send(b"the whole text\n")
    peer.close_notify()


def sends_and_breaks_off(peer):
    """Not before the other end has set kernel TLS: it needs an established TCP connection for that."""
    def is_set():
        with open("/proc/net/tls_stat") as file:
            return any(line.split() == ["TlsCurrRxSw", "1"] for line in file)

    wait_for(is_set, 30)
    peer.send(b"half of the te")
    peer.close()


def listens(peer):
    try:
        while peer.receive():
            pass
        return "close_notify"
    except ssl.SSLError as error:
        return "the stream broke off" if "EOF" in str(error) else str(error)


CASES = (
    ("a session ticket, then text, then close_notify", 2, sends_and_ends, "cat >&2",
     lambda process, said: (process.returncode == 0 and "the whole text" in process.stderr,
                            f"exit {process.returncode}: {process.stderr.strip()}")),
    ("text that breaks off without close_notify", 0, sends_and_breaks_off, "cat >/dev/null",
     lambda process, said: (process.returncode != 0, f"exit {process.returncode}: {process.stderr.strip() or 'success'}")),
    ("what the peer sees when the program is done", 0, listens, "printf done",
     lambda process, said: (said == "close_notify", said)),
)


def compare(agent):
    """[(case, over the socket (good, text), over data (good, text))]"""
    rows = []
    for case, tickets, behaviour, command, judge in CASES:
        rows.append((case, judge(*over_socket(tickets, behaviour, command)), judge(*over_data(agent, tickets, behaviour, command))))
    return rows


def main():
    harness.make_certificate()
    agent = Agent()
    for case, socket, data in compare(agent):
        print(f"{case}\n    kTLS socket: {socket[1]}\n    data:        {data[1]}")
    agent.stop()


if __name__ == "__main__":
    sys.exit(main())
