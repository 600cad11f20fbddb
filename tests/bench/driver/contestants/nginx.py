# SPDX-License-Identifier: MIT
import os

from ..scene import NAME
from .base import Proxy, first_line

MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
CONFIG = """
load_module {module};
daemon off; worker_processes auto; pid {directory}/nginx.pid; error_log stderr; worker_rlimit_nofile 65536;
{user}
events {{ worker_connections 32768; }}
stream {{
    server {{
        listen 127.0.0.1:{accept} backlog=4096;
        proxy_pass 127.0.0.1:{connect};
        proxy_ssl on;
        proxy_ssl_protocols TLSv1.3;
        proxy_ssl_verify on; proxy_ssl_verify_depth 3;
        proxy_ssl_trusted_certificate {ca};
        proxy_ssl_name {name}; proxy_ssl_server_name on;
    }}
}}
"""


class Nginx(Proxy):
    """nginx's stream proxy: event-driven, a process a processor, buffers of 16 KiB."""

    key = "nginx"
    title = "nginx stream"
    package = "nginx libnginx-mod-stream"

    def missing(self, scene):
        return super().missing(scene) or (
            None if os.path.exists(MODULE) else f"has no stream module (apt-get install {self.package})")

    def command(self, scene, port):
        config = scene.new_path("nginx.conf")
        config.write_text(CONFIG.format(module=MODULE, directory=scene.directory, accept=self.port, connect=port,
                                        ca=scene.ca, name=NAME, user="user root;" if os.geteuid() == 0 else ""))
        return [self.program, "-e", "stderr", "-c", config]

    def version(self):
        line = first_line([self.program, "-v"])
        return line.rpartition(": ")[2] if line else None
