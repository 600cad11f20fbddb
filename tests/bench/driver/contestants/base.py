# SPDX-License-Identifier: MIT
"""What a contestant is. To add one: a class like those beside this, and its name in __init__.py."""

import shutil
import subprocess

from ..ports import free_port, is_listening
from ..scene import Service


class Contestant:
    key = ""  # in results
    title = ""  # for readers
    is_proxy = False

    def missing(self, scene):
        """Why it cannot take part here, or None."""
        return None

    def start(self, scene, port):
        """Makes it ready to lead to the endpoint on `port`."""

    def stop(self, scene):
        """Undoes that."""

    def arguments(self):
        """How the client program reaches it (programs/stream.h)."""
        raise NotImplementedError

    @property
    def sessions(self):
        """The sessions of its processes, whose CPU and memory count as its own."""
        return []

    def version(self):
        return None

    def most_connections(self, descriptors):
        """How many it can have where a process may have so many descriptors."""
        return descriptors - 400


class Proxy(Contestant):
    """Takes plain TCP on a port of its own, and speaks TLS to the endpoint."""

    is_proxy = True
    package = ""

    @property
    def program(self):
        return shutil.which(self.key, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")

    def missing(self, scene):
        return None if self.program else f"not installed (apt-get install {self.package})"

    def command(self, scene, port):
        """The argument vector that listens on self.port and leads to `port`."""
        raise NotImplementedError

    def start(self, scene, port):
        self.port = free_port()
        self.service = Service(scene, self.command(scene, port), stdout=subprocess.DEVNULL)
        self.service.wait_until(lambda: is_listening(self.port), f"{self.key} on its port")

    def stop(self, scene):
        scene.stop(self.service)

    def arguments(self):
        return ["--via", "plain", "--port", self.port]

    @property
    def sessions(self):
        return [self.service.session]

    def most_connections(self, descriptors):
        return descriptors // 2 - 200


def openssl_version():
    return " ".join((first_line(["openssl", "version"]) or "OpenSSL").split()[:2])


def lines_of(argv):
    """What a program says of its version."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except OSError:
        return []
    return (done.stdout + done.stderr).strip().splitlines()


def first_line(argv):
    return next(iter(lines_of(argv)), None)
