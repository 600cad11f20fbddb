# SPDX-License-Identifier: MIT
"""Programs that have TLS in themselves."""

from .base import Contestant, openssl_version


class OpensslProgram(Contestant):
    """Calls SSL_write and SSL_read on a socket of its own."""

    key = "program"
    title = "SSL_write/SSL_read"

    def start(self, scene, port):
        self.port, self.ca = port, scene.ca

    def arguments(self):
        return ["--via", "openssl", "--port", self.port, "--ca", self.ca]

    def version(self):
        return openssl_version()


class KernelSocket(Contestant):
    """Does the handshake itself and sets kernel TLS on its socket, without any module of ours."""

    key = "ktls"
    title = "plain kTLS socket"

    def missing(self, scene):
        try:
            with open("/proc/sys/net/ipv4/tcp_available_ulp", encoding="ascii") as file:
                return None if "tls" in file.read().split() else "kernel TLS is not loaded"
        except FileNotFoundError:
            return "this kernel has no kernel TLS"

    def start(self, scene, port):
        self.port = port

    def arguments(self):
        return ["--via", "ktls", "--port", self.port]
