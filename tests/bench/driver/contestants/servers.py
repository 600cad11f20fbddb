# SPDX-License-Identifier: MIT
"""Servers that do many handshakes (programs/server.cc)."""

from ..endpoint import port_of
from ..scene import Service
from .base import Contestant
from .tlsfs import Tlsfs


class Server(Contestant):
    """The port is its own; who measures it is a client that verifies nothing, to be light."""

    def options(self, scene):
        raise NotImplementedError

    def start(self, scene, port):
        self.service = Service(scene, [scene.program("server"), "--chain", scene.certificate("good.pem"), "--key",
                                       scene.certificate("good.key"), *self.options(scene)])
        self.port = port_of(self.service)

    def stop(self, scene):
        scene.stop(self.service)

    def arguments(self):
        return ["--via", "openssl", "--port", self.port]

    @property
    def sessions(self):
        return [self.service.session]


class OpensslServer(Server):
    key, title = "program", "SSL_accept"

    def options(self, scene):
        return ["--via", "openssl"]


class TlsfsServer(Server):
    def __init__(self, build, key, title):
        self.key, self.title = key, title
        self.companion = Tlsfs(build)

    def missing(self, scene):
        return self.companion.missing(scene)

    def start(self, scene, port):
        self.companion.start(scene, port)
        super().start(scene, port)

    def stop(self, scene):
        super().stop(scene)
        self.companion.stop(scene)

    def options(self, scene):
        return ["--via", "tlsfs", "--mount", self.companion.mount]

    @property
    def sessions(self):
        return super().sessions + self.companion.sessions
