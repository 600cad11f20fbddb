# SPDX-License-Identifier: MIT
"""Who takes part. Each is one small class: start, stop, and how the client program reaches it."""

import contextlib

from ..rounds import say
from ..scene import Failed
from .base import Contestant
from .haproxy import Haproxy
from .nginx import Nginx
from .openssl import KernelSocket, OpensslProgram
from .socat import Socat
from .stunnel import Stunnel
from .tlsfs import DataSocket, Tlsfs

__all__ = ["Contestant", "KernelSocket", "OpensslProgram", "Tlsfs", "DataSocket", "Stunnel", "Socat", "Haproxy", "Nginx",
           "all_of", "companions", "ours", "started", "proxies"]


def companions(options):
    """tlsfs as it was built here, and other builds of it that were named with --also."""
    return [Tlsfs(options.build)] + [
        Tlsfs(build, key=f"tlsfs {name}", title=f"`data`, {name}") for name, build in options.also.items()]


def ours(options):
    """What a client has of tlsfs: the data socket, and the files."""
    return [DataSocket(options.build), *companions(options)]


def proxies():
    return [Stunnel(), Socat(), Haproxy(), Nginx()]


def all_of(options):
    return [*ours(options), OpensslProgram(), *proxies()]


@contextlib.contextmanager
def started(scene, port, contestants):
    """Those that can take part, ready; and {title: why not} of the others."""
    ready, left_out = [], {}
    try:
        for contestant in contestants:
            reason = contestant.missing(scene)
            if reason is None:
                try:
                    contestant.start(scene, port)
                    ready.append(contestant)
                    continue
                except Failed as failure:
                    reason = f"does not start: {failure}"
            left_out[contestant.title] = reason
            say(f"without {contestant.title}: {reason}")
        yield ready, left_out
    finally:
        for contestant in ready:
            contestant.stop(scene)
