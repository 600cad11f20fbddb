# SPDX-License-Identifier: MIT
from ..scene import NAME
from .base import Proxy, lines_of

CONFIG = """
foreground = yes
pid =
debug = err
syslog = no
[bench]
client = yes
accept = 127.0.0.1:{accept}
connect = 127.0.0.1:{connect}
CAfile = {ca}
verifyChain = yes
checkHost = {name}
sni = {name}
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
"""


class Stunnel(Proxy):
    """A thread a connection."""

    key = "stunnel"
    title = "stunnel"
    package = "stunnel4"

    def command(self, scene, port):
        config = scene.new_path("stunnel.conf")
        config.write_text(CONFIG.format(accept=self.port, connect=port, ca=scene.ca, name=NAME))
        return [self.program, config]

    def most_connections(self, descriptors):
        return descriptors * 125 // 256 - 200  # as it reckons itself

    def version(self):
        said = lines_of([self.program, "-version"])
        return next((line.split(" on ")[0] for line in said if line.startswith("stunnel ")), None)
