# SPDX-License-Identifier: MIT
"""Which engine carries the bytes: what was asked for, what can be had, and what is said where it cannot."""

import errno
import os
import socket
import ssl
import stat
import unittest

from harness import Case, engine
from harness.certs import NAME
from harness.peers import TLS12, Peer, echo, server_context, tcp_pair, unix_pair

needs_kernel = unittest.skipUnless(engine.name == "kernel", "the module is not loaded; tests/vm tries it")
CBC = "ECDHE-ECDSA-AES256-SHA384"  # kernel TLS has AEAD suites only


class Engines(Case):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()
        self.best = engine.expected(socket.AF_INET, self.tlsfs)

    def begin(self, script, *lines, pair=tcp_pair, context=None):
        """A connection that may be refused: (connection, the peer, the errno or 0)."""
        ours, theirs = pair()
        peer = self.background(self.serve, theirs, context or server_context(self.certs), script)
        connection = self.tlsfs.connection()
        connection.put("ca", self.certs.text("ca.pem"))
        with ours:
            try:
                connection.say(f"fd {ours.fileno()}", *lines, f"client {NAME}")
            except OSError as error:
                return connection, peer, error.errno
        return connection, peer, 0

    @staticmethod
    def serve(sock, context, script):
        with sock:
            peer = Peer(sock.fileno(), sock.fileno(), context)
            if script is not ends_first:
                peer.handshake()
            return script(peer)

    def assertCarries(self, connection, name):
        self.assertEqual(connection.status()["Engine"], name)
        data = connection.data()
        os.write(data, b"through")
        self.assertEqual(os.read(data, 100), b"through")

    def assertRefused(self, connection, code, reason):
        """`engine kernel` where it cannot be: no connection, and the reason."""
        self.assertEqual(code, errno.EOPNOTSUPP)
        status = connection.status()
        self.assertEqual(status["State"], "Error")
        self.assertRegex(status["Error"], f"engine kernel: .*{reason}")
        self.assertErrno(errno.EOPNOTSUPP, connection.data)

    def test_what_is_asked_for_is_used(self):
        for asked, expected in ("engine user", "user"), ("engine auto", self.best), ("timeout 9", self.best):
            with self.subTest(asked):
                connection, _, code = self.begin(echo, asked)
                self.assertEqual(code, 0)
                self.assertCarries(connection, expected)

    def test_a_suite_that_the_kernel_lacks_is_the_user_engines(self):
        context = server_context(self.certs, version=TLS12, ciphers=CBC)
        connection, _, code = self.begin(echo, f"ciphers {CBC}", context=context)
        self.assertEqual(code, 0)
        self.assertEqual(connection.status()["Cipher"], CBC)
        self.assertCarries(connection, "user")

    def test_a_transport_that_is_not_tcp_is_the_user_engines(self):
        connection, _, code = self.begin(echo, pair=unix_pair)
        self.assertEqual(code, 0)
        self.assertCarries(connection, "user")

    def test_a_transport_that_the_peer_has_half_closed_is_the_user_engines(self):
        connection, peer, code = self.begin(ends_first)
        self.assertEqual(code, 0)
        self.assertEqual(connection.status()["Engine"], "user")
        data = connection.data()
        self.assertErrno(errno.ECONNRESET, os.read, data, 100)
        with self.assertRaises(ssl.SSLError):  # it hears that its end was none
            peer.result()

    @needs_kernel
    def test_engine_kernel_is_refused_with_the_reason_where_it_cannot_be(self):
        context = server_context(self.certs, version=TLS12, ciphers=CBC)
        connection, _, code = self.begin(echo, f"ciphers {CBC}", "engine kernel", context=context)
        self.assertRefused(connection, code, CBC)
        connection, _, code = self.begin(echo, "engine kernel", pair=unix_pair)
        self.assertRefused(connection, code, "not TCP")
        connection, _, code = self.begin(ends_first, "engine kernel")
        self.assertRefused(connection, code, "ESTABLISHED")
        connection, _, code = self.begin(echo, "engine kernel")
        self.assertEqual(code, 0)
        self.assertCarries(connection, "kernel")

    @needs_kernel
    def test_the_files_are_the_kernels_own_devices(self):
        connection, _, code = self.begin(echo)
        self.assertEqual(code, 0)
        for path in self.tlsfs.file("clone"), connection.dir / "ctl", connection.dir / "data":
            self.assertTrue(stat.S_ISCHR(os.stat(path).st_mode), path)
        self.assertRegex(self.tlsfs.read("engines"), r"(?m)^kernel tlsdev \d+$")
        other, _, code = self.begin(echo, "engine user")
        self.assertEqual(code, 0)
        self.assertTrue(stat.S_ISREG(os.stat(other.dir / "data").st_mode), "the user engine's data is FUSE's")


def ends_first(peer):
    """A server that ends its sending side with its own part of the handshake, and then listens."""
    flight = peer.first_flight()
    with socket.socket(fileno=os.dup(peer.outgoing)) as sock:
        sock.send(flight, socket.MSG_MORE)  # so that the FIN comes with it
        sock.shutdown(socket.SHUT_WR)
    peer.handshake()
    return peer.read()
