# SPDX-License-Identifier: MIT
"""Identities: certificates by name, whose keys only tlskeyd has."""

import errno
import os

from harness import Case, needs_root
from harness.certs import NAME
from harness.device import read_exactly, write_all
from harness.keyd import Keyd
from harness.peers import TLS12, VERSIONS, client_context, echo, server_context, tcp_pair

KINDS = ["good", "rsa", "rsa4096", "p384", "p521", "ed25519"]


class Identities(Case):
    """What the tests below share."""

    def keyd(self, *options, **more):
        return Keyd(self, *options, **more).start()

    def companion(self, keyd, *options, **more):
        return self.mount("--keys", keyd.socket, *options, **more)

    def serve(self, mount, identities, *, name=NAME, lines=(), context=None, script=echo):
        """A server connection with an identity, to a client in this process: (connection, peer)."""
        ours, theirs = tcp_pair()
        peer = self.peer(theirs, context or client_context(self.certs), script, name=name)
        connection = mount.connection()
        with ours:
            connection.say(f"fd {ours.fileno()}", f"identity {identities}", *lines, "server")
        return connection, peer

    def visit(self, mount, identities, *, context=None, lines=(), script=echo, name=NAME):
        """A client connection with an identity, to a server in this process that demands a certificate."""
        ours, theirs = tcp_pair()
        context = context or server_context(self.certs, client_ca=self.certs.ca)
        peer = self.peer(theirs, context, script)
        connection = mount.connection()
        with ours:
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(f"fd {ours.fileno()}", f"identity {identities}", *lines, f"client {name}")
        return connection, peer

    def assertTalks(self, connection, peer):
        data = connection.data()
        write_all(data, b"plaintext")
        self.assertEqual(read_exactly(data, 9), b"plaintext")
        connection.say("close")
        self.assertEqual(peer.result(), 9)


class Handshakes(Identities):
    """Every kind of key, in both roles, with both versions of TLS."""

    def test_a_server_shows_an_identity_and_signs_with_it(self):
        keyd = self.keyd()
        mount = self.companion(keyd)
        for leaf in KINDS:
            keyd.identity(leaf, leaf, roles="server")
            keyd.wait_for(leaf)
            for version, number in VERSIONS.items():
                with self.subTest(key=leaf, version=version):
                    context = client_context(self.certs, version=number)
                    connection, peer = self.serve(mount, leaf, context=context)
                    self.assertEqual(connection.status()["Version"], version)
                    self.assertTalks(connection, peer)

    def test_a_client_shows_an_identity_and_signs_with_it(self):
        keyd = self.keyd()
        mount = self.companion(keyd)
        for leaf in KINDS:
            keyd.identity(leaf, leaf, roles="client")
            keyd.wait_for(leaf, role=0)
            for version, number in VERSIONS.items():
                with self.subTest(key=leaf, version=version):
                    context = server_context(self.certs, client_ca=self.certs.ca, version=number)
                    subject = []

                    def script(peer):
                        subject.append(peer.tls.getpeercert()["subject"])
                        return echo(peer)
                    connection, peer = self.visit(mount, leaf, context=context, script=script)
                    self.assertEqual(connection.status()["Version"], version)
                    self.assertTalks(connection, peer)
                    self.assertEqual(subject, [((("commonName", leaf),),)])
