# SPDX-License-Identifier: MIT
"""The TLS server that all contestants talk to (programs/endpoint.cc), and the server that is a contestant itself."""

from .scene import Failed, Service


class Endpoint:
    def __init__(self, scene, leaf="good", **options):
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.service = Service(scene, [scene.program("endpoint"), "--chain", scene.certificate(f"{leaf}.pem"), "--key",
                                       scene.certificate(f"{leaf}.key"), *arguments])
        self.port = port_of(self.service)

    @property
    def sessions(self):
        return [self.service.session]


def port_of(service):
    words = service.line().split()
    if len(words) != 2:
        raise Failed(f"{service.name} does not start: {service.said()}")
    return int(words[1])
