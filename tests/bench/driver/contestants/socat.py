# SPDX-License-Identifier: MIT
from ..scene import NAME
from .base import Proxy, lines_of


class Socat(Proxy):
    """A process a connection; its buffer is 8 KiB unless told otherwise."""

    key = "socat"
    title = "socat"
    package = "socat"

    def command(self, scene, port):
        return [self.program, f"TCP-LISTEN:{self.port},bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=1024",
                f"OPENSSL:127.0.0.1:{port},cafile={scene.ca},commonname={NAME},snihost={NAME},verify=1,nodelay"]

    def version(self):
        said = lines_of([self.program, "-V"])
        return next((" ".join(line.split()[1:3]) for line in said if "version" in line), None)
