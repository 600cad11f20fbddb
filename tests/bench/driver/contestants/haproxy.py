# SPDX-License-Identifier: MIT
import resource

from ..scene import NAME
from .base import Proxy, first_line

CONFIG = """
global
    maxconn {most}
defaults
    mode tcp
    timeout connect 10s
    timeout client 10m
    timeout server 10m
listen bench
    bind 127.0.0.1:{accept}
    maxconn {most}
    server endpoint 127.0.0.1:{connect} ssl verify required ca-file {ca} verifyhost {name} sni str({name})
"""


class Haproxy(Proxy):
    """Event-driven, a thread a processor, buffers of 16 KiB."""

    key = "haproxy"
    title = "haproxy"
    package = "haproxy"

    def command(self, scene, port):
        config = scene.new_path("haproxy.conf")
        # It takes two descriptors for a connection, and does not start where it may not have them.
        most = min(24000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 100)
        config.write_text(CONFIG.format(accept=self.port, connect=port, ca=scene.ca, name=NAME, most=most))
        return [self.program, "-db", "-q", "-f", config]

    def version(self):
        line = first_line([self.program, "-v"])
        return line.split(" - ")[0].rsplit(" 20", 1)[0] if line else None
