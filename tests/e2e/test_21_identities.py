# SPDX-License-Identifier: MIT
"""Identities: certificates by name, whose keys only tlskeyd has."""

import errno
import hashlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import unittest
from pathlib import Path
from random import Random

from harness import TIMEOUT, Case, needs_root, program, sanitized
from harness.certs import NAME
from harness.device import read_exactly, write_all
from harness.keyd import (CLIENT, HANDSHAKE12, KEY_EXCHANGE12, RSA_PKCS1_SHA256, RSA_PSS_SHA256, SERVER, Guest, Keyd,
                          Refused, find_message, sign_message)
from harness.keys import traces_of
from harness.peers import TLS12, VERSIONS, client_context, echo, server_context, tcp_pair
from harness.processes import command, descendants, memory_has
from harness.servers import free_port, listens, s_client, s_server
from harness.wait import until

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
            keyd.wait_for(leaf, role=CLIENT)
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


class RealPeers(Identities):
    """OpenSSL's own commands at the other end."""

    def client_of(self, mount, identities, *arguments):
        """`openssl s_client` of a server with identities: the connection's status."""
        ours, client = s_client(self, "-verify_return_error", *arguments)
        connection = mount.connection()
        with ours:
            connection.say(f"fd {ours.fileno()}", f"identity {identities}", "server")
        write_all(connection.data(), b"plaintext\n")
        client.wait_for_output("plaintext")
        return connection.status()

    def test_every_signature_that_tls_1_2_has(self):
        keyd = self.keyd()
        mount = self.companion(keyd)
        for leaf in ("rsa", "good", "ed25519"):
            keyd.identity(leaf, leaf)
            keyd.wait_for(leaf)
        for leaf, cipher, algorithm in (
                ("rsa", "ECDHE-RSA-AES128-GCM-SHA256", "RSA+SHA256"),
                ("rsa", "ECDHE-RSA-AES128-GCM-SHA256", "RSA+SHA512"),
                ("rsa", "ECDHE-RSA-AES128-GCM-SHA256", "rsa_pss_rsae_sha384"),
                ("rsa", "DHE-RSA-AES128-GCM-SHA256", "RSA+SHA384"),
                ("good", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA+SHA256"),
                ("good", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA+SHA512"),
                ("ed25519", "ECDHE-ECDSA-AES128-GCM-SHA256", "ed25519")):
            with self.subTest(cipher=cipher, algorithm=algorithm):
                status = self.client_of(mount, leaf, "-tls1_2", "-cipher", cipher, "-sigalgs", f"{algorithm}:ECDSA+SHA224")
                self.assertEqual(status["Cipher"], cipher)

    def test_every_group_of_tls_1_2(self):
        keyd = self.keyd()
        keyd.identity("git", "rsa")  # a client that has one group only takes no ECDSA over another
        keyd.wait_for("git")
        mount = self.companion(keyd)
        for group in ("P-256", "P-384", "P-521", "X25519", "X448"):
            with self.subTest(group=group):
                self.client_of(mount, "git", "-tls1_2", "-groups", group)

    def test_an_openssl_server_verifies_our_identity(self):
        keyd = self.keyd()
        keyd.identity("laptop", "client", roles="client")
        keyd.wait_for("laptop", role=CLIENT)
        mount = self.companion(keyd)
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version=version):
                server = s_server(self, "-Verify", "3", "-verify_return_error", "-CAfile", self.certs.ca, version)
                done = self.run_program(
                    [program("tlsclient"), "-c", self.certs.ca, "--identity", "laptop", f"localhost:{server.port}"],
                    environment={"TLSFS": str(mount.path)}, input="Q\n")
                self.assertRan(done)
                server.wait_for_output("CN = client")


class Choice(Identities):
    """A server with several identities."""

    def setUp(self):
        super().setUp()
        self.kd = self.keyd()
        for name in ("good", "rsa", "second", "second-rsa"):
            self.kd.identity(name, name)
            self.kd.wait_for(name)
        self.tlsfs = self.companion(self.kd)

    def shown(self, identities, *, name=NAME, **options):
        """The common name of the certificate that a client is shown."""
        context = client_context(self.certs, **options)
        context.check_hostname = False
        subject = []

        def script(peer):
            subject.append(peer.tls.getpeercert()["subject"][0][0][1])
            return echo(peer)
        connection, peer = self.serve(self.tlsfs, identities, name=name, context=context, script=script)
        self.assertTalks(connection, peer)
        return subject[0]

    def test_the_name_that_the_client_wants_chooses(self):
        self.assertEqual(self.shown("good second", name="second.test"), "second")
        self.assertEqual(self.shown("good second"), "good")
        self.assertEqual(self.shown("second good"), "good")

    def test_a_name_that_nobody_bears_gets_the_first(self):
        self.assertEqual(self.shown("second good", name="other.test"), "second")

    def test_then_what_the_client_can_verify(self):
        ecdsa, rsa = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"
        for order in ("good rsa", "rsa good"):
            self.assertEqual(self.shown(order, version=TLS12, ciphers=ecdsa), "good")
            self.assertEqual(self.shown(order, version=TLS12, ciphers=rsa), "rsa")
            self.assertEqual(self.shown(order), order.split()[0], "both will do: the first")
        self.assertEqual(self.shown("good rsa second second-rsa", name="second.test", version=TLS12, ciphers=rsa),
                         "second-rsa")

    def test_in_tls_1_3_by_its_signature_algorithms(self):
        for algorithms, shown in (("rsa_pss_rsae_sha256", "rsa"), ("ECDSA+SHA256", "good")):
            ours, client = s_client(self, "-tls1_3", "-sigalgs", f"{algorithms}:ECDSA+SHA384")
            connection = self.tlsfs.connection()
            with ours:
                connection.say(f"fd {ours.fileno()}", "identity good rsa", "server")
            client.wait_for_output(f"CN = {shown}")

    def test_a_client_shows_what_the_server_accepts(self):
        self.kd.credential("stranger", "stranger")
        self.kd.configure("stranger", f"cert {self.kd.keys}/stranger.pem\nkey {self.kd.keys}/stranger.key\n"
                          "users *\nroles client\n")
        self.kd.wait_for("stranger", role=CLIENT)
        for order in ("stranger rsa", "rsa stranger"):
            server = s_server(self, "-Verify", "3", "-CAfile", self.certs.ca)  # says whom it takes
            words = [word for name in order.split() for word in ("--identity", name)]
            done = self.run_program([program("tlsclient"), "-c", self.certs.ca, *words, f"localhost:{server.port}"],
                                    environment={"TLSFS": str(self.tlsfs.path)}, input="Q\n")
            self.assertRan(done)
            server.wait_for_output("CN = rsa")

    def test_one_that_is_missing_is_said_even_if_another_would_do(self):
        connection = self.tlsfs.connection()
        ours, theirs = tcp_pair()
        with ours, theirs:
            connection.say(f"fd {ours.fileno()}", "identity good nothing")
            self.assertErrno(errno.ENOENT, connection.say, "server")
        self.assertRegex(connection.status()["Error"], "identity nothing: not there, or not for user 0 as server")


class Rules(Identities):
    """What ctl, files and the administrator's configuration say of identities."""

    def test_an_identity_takes_the_place_of_cert_and_key(self):
        keyd = self.keyd()
        keyd.identity("git")
        keyd.wait_for("git")
        mount = self.companion(keyd)
        ours, theirs = tcp_pair()
        with ours, theirs:
            for file in ("cert", "key"):
                connection = mount.connection()
                suffix = "pem" if file == "cert" else "key"
                connection.say(f"fd {ours.fileno()}", "identity git")
                connection.put(file, self.certs.text(f"good.{suffix}"))
                self.assertErrno(errno.EINVAL, connection.say, "server")
                self.assertRegex(connection.status()["Error"], "an identity was named, and a cert or key was written")
                self.assertEqual(connection.status()["State"], "New")

    def test_bad_names_and_too_many_are_einval(self):
        connection = self.companion(self.keyd()).connection()
        for words in ("", "../git", ".git", "a/b", "'a b'", "n" * 65, " ".join(["x"] * 17)):
            with self.subTest(words=words):
                self.assertErrno(errno.EINVAL, connection.say, f"identity {words}")

    def test_later_it_is_too_late(self):
        keyd = self.keyd()
        keyd.identity("git")
        keyd.wait_for("git")
        connection, peer = self.serve(self.companion(keyd), "git")
        self.assertErrno(errno.EBUSY, connection.say, "identity git")
        self.assertTalks(connection, peer)

    def test_the_last_line_says_which(self):
        keyd = self.keyd()
        keyd.identity("git")
        keyd.wait_for("git")
        connection, peer = self.serve(self.companion(keyd), "other", lines=["identity git"])
        self.assertTalks(connection, peer)

    def test_keys_identities_only_forbids_keys_of_ones_own(self):
        keyd = self.keyd()
        keyd.identity("git")
        keyd.wait_for("git")
        config = self.dir / "tlsfs.conf"
        config.write_text(f"keys identities-only\nkeys-socket {keyd.socket}\n")
        mount = self.mount("--config", config)
        connection = mount.connection()
        for file, leaf in (("cert", "good.pem"), ("key", "good.key")):
            self.assertErrno(errno.EACCES, connection.put, file, self.certs.text(leaf))
        connection.put("ca", self.certs.text("ca.pem"))
        server, peer = self.serve(mount, "git")
        self.assertTalks(server, peer)
        done = self.run_program([program("tlssrv"), "-c", self.certs("good.pem"), "-k", self.certs("good.key"), "-l",
                                 "127.0.0.1:0", "cat"], environment={"TLSFS": str(mount.path)})
        self.assertEqual(done.returncode, 111)
        self.assertIn("identities only: the administrator's policy forbids it", done.stderr)

    def test_without_tlskeyd_the_error_says_where_it_was_looked_for(self):
        mount = self.mount("--keys", self.dir / "nothing")
        ours, theirs = tcp_pair()
        connection = mount.connection()
        with ours, theirs:
            connection.say(f"fd {ours.fileno()}", "identity git")
            self.assertErrno(errno.ENODEV, connection.say, "server")
        self.assertIn(f"tlskeyd at {self.dir}/nothing: No such file", connection.status()["Error"])

    def test_resumption_needs_no_signature(self):
        keyd = self.keyd()
        keyd.identity("laptop", "client", roles="client")
        keyd.identity("git", roles="server")
        keyd.wait_for("git")
        keyd.wait_for("laptop", role=CLIENT)
        mount = self.companion(keyd)
        for _ in range(2):
            ours, theirs = tcp_pair()
            server = mount.connection()
            with theirs:
                server.say(f"fd {theirs.fileno()}", "identity git")
                answered = self.background(server.say, "server")
                client = mount.connection()
                with ours:
                    client.put("ca", self.certs.text("ca.pem"))
                    client.say(f"fd {ours.fileno()}", "identity laptop", f"client {NAME}")
                answered.result()
            write_all(server.data(), b"x")
            self.assertEqual(read_exactly(client.data(), 1), b"x")
        self.assertEqual(server.status()["Resumed"], "yes")
        self.assertEqual(len(re.findall("signed: ", keyd.output())), 1)


class Users(Identities):
    """Who may use what: by the kernel's word, and root's for others."""

    def answer_as(self, user, keyd, message):
        """What `user` is told who sends a message: an errno, or 0."""
        # Of this directory's modules none: another user may not be let in here.
        script = ("import socket, struct, sys\n"
                  "guest = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
                  "guest.connect(sys.argv[1])\n"
                  "guest.send(bytes.fromhex(sys.argv[2]))\n"
                  "print(struct.unpack('!I', guest.recv(1 << 18)[:4])[0])\n")
        done = self.run_program([sys.executable, "-c", script, keyd.socket, message.hex()], user=user)
        self.assertRan(done)
        return int(done.stdout)

    @needs_root
    def test_absent_and_forbidden_look_the_same(self):
        alice, bob = self.users()
        keyd = self.keyd()
        keyd.identity("git", users=alice.name, roles="server")
        keyd.wait_for("git", owner=alice.uid)
        answers = set()
        for name, role, user in (("git", SERVER, bob), ("git", CLIENT, alice), ("nothing", SERVER, alice)):
            with keyd.guest() as guest, self.assertRaises(Refused) as caught:
                guest.ask(find_message(name, role, user.uid))
            answers.add((caught.exception.errno, re.sub(r"\d+", "N", str(caught.exception)).replace("client", "server")))
        self.assertEqual(len(answers), 1, answers)
        self.assertEqual(answers.pop()[0], errno.ENOENT)

    @needs_root
    def test_only_root_speaks_for_others(self):
        alice, bob = self.users()
        keyd = self.keyd()
        keyd.identity("git", users=str(alice.uid))
        keyd.wait_for("git", owner=alice.uid)
        self.assertEqual(self.answer_as(alice, keyd, find_message("git")), 0)
        self.assertEqual(self.answer_as(bob, keyd, find_message("git", owner=alice.uid)), errno.ENOENT)
        self.assertEqual(self.answer_as(alice, keyd, find_message("git", owner=bob.uid)), 0)
        self.assertFalse(keyd.has("git"), "root is no user of it either")

    @needs_root
    def test_a_users_connection_on_the_system_mount_signs_for_that_user(self):
        alice, bob = self.users()
        keyd = self.keyd()
        keyd.identity("laptop", "client", users=alice.name, roles="client")
        keyd.wait_for("laptop", CLIENT, alice.uid)
        mount = self.companion(keyd)
        server = s_server(self, "-Verify", "3", "-verify_return_error", "-CAfile", self.certs.ca)
        argv = [program("tlsclient"), "-c", self.certs.ca, "--identity", "laptop", f"localhost:{server.port}"]
        environment = {"TLSFS": str(mount.path)}
        self.assertRan(self.run_program(argv, user=alice, environment=environment, input="Q\n"))
        self.assertRegex(keyd.output(), f"signed: user {alice.uid} identity laptop as client")
        for user in (bob, None):
            done = self.run_program(argv, user=user, environment=environment)
            self.assertEqual(done.returncode, 111)
            self.assertIn("identity laptop: not there, or not for user", done.stderr)

    @needs_root
    def test_a_tlskeyd_of_ones_own(self):
        alice, bob = self.users()
        keyd = self.keyd(user=alice)
        keyd.identity("mine", "client", users="", roles="client")
        mount = self.companion(keyd, user=alice)
        server = s_server(self, "-Verify", "3", "-verify_return_error", "-CAfile", self.certs.ca)
        argv = [program("tlsclient"), "-c", self.certs.ca, "--identity", "mine", f"localhost:{server.port}"]
        environment = {"TLSFS": str(mount.path)}
        until(lambda: "identity mine is there" in keyd.output(), "the identity")
        self.assertRan(self.run_program(argv, user=alice, environment=environment, input="Q\n"))
        # Nobody else is served, not even root.
        with self.assertRaises((EOFError, OSError)):
            Guest(keyd.socket).ask(find_message("mine", CLIENT, alice.uid))
        self.assertIn("user 0 is not let in", keyd.output())
        if not sanitized("tlskeyd"):
            done = self.run_program(["cat", f"/proc/{keyd.pid}/mem"], user=alice)
            self.assertIn("Permission denied", done.stderr)

    @needs_root
    def test_a_file_that_others_can_change_or_read_is_not_taken(self):
        alice, _ = self.users()
        keyd = self.keyd()
        keyd.identity("git")
        keyd.wait_for("git")
        key, conf, cert = keyd.keys / "git.key", keyd.identities / "git.conf", keyd.keys / "git.pem"
        for path, spoil, text in ((key, lambda: key.chmod(0o604), "everybody can read it"),
                                  (key, lambda: key.chmod(0o620), "others than its owner can write to it"),
                                  (cert, lambda: cert.chmod(0o646), "others than its owner can write to it"),
                                  (conf, lambda: alice.own(conf), "its owner is neither root nor")):
            mode, owner = path.stat().st_mode, path.stat().st_uid
            spoil()
            until(lambda: f"{path}: {text}" in keyd.output(), f"{text}; tlskeyd said {keyd.output()}")
            path.chmod(mode & 0o777)
            os.chown(path, owner, owner)
        other = self.keyd()
        other.credential("git", "good")
        (other.keys / "git.key").chmod(0o644)
        other.configure("git", f"cert {other.keys}/git.pem\nkey {other.keys}/git.key\nusers *\nroles server\n")
        until(lambda: "everybody can read it; it is not there" in other.output(), "the refusal")
        self.assertFalse(other.has("git"))


class Refusals(Identities):
    """tlskeyd signs handshakes, and nothing else; and no message disturbs it."""

    def setUp(self):
        super().setUp()
        self.kd = self.keyd()
        self.kd.identity("git")
        self.kd.identity("rsa", "rsa")
        self.kd.identity("new", "good", more="minimum-version 1.3\n")
        for name in ("git", "rsa", "new"):
            self.kd.wait_for(name)

    def leaf(self, name):
        der = ssl.PEM_cert_to_DER_cert(self.certs.text(f"{name}.leaf.pem").decode())
        return hashlib.sha256(der).digest()

    def assertRefused(self, code, message):
        with self.kd.guest() as guest, self.assertRaises(Refused) as caught:
            guest.ask(message)
        self.assertEqual(caught.exception.errno, code, caught.exception)

    def signature(self, content, *, identity="git", leaf="good", **options):
        with self.kd.guest() as guest:
            return guest.ask(sign_message(identity, self.leaf(leaf), content, **options))

    def verifies(self, signature, content):
        (self.dir / "signature").write_bytes(signature)
        (self.dir / "content").write_bytes(content)
        public = self.run_program(["openssl", "x509", "-in", self.certs("good.leaf.pem"), "-noout", "-pubkey"])
        (self.dir / "public").write_text(public.stdout)
        done = self.run_program(["openssl", "dgst", "-sha256", "-verify", self.dir / "public", "-signature",
                                 self.dir / "signature", self.dir / "content"])
        return done.returncode == 0

    def test_a_hash_is_only_ever_signed_behind_the_text_of_its_role(self):
        digest = hashlib.sha256(b"a transcript").digest()
        for role, word in ((SERVER, b"server"), (CLIENT, b"client")):
            signature = self.signature(digest, role=role)
            before = b" " * 64 + b"TLS 1.3, " + word + b" CertificateVerify\0"
            self.assertTrue(self.verifies(signature, before + digest))
            for other in (digest, b"a transcript", before.replace(word, b"sombra") + digest):
                self.assertFalse(self.verifies(signature, other))

    def test_what_is_no_handshake_is_not_signed(self):
        leaf = self.leaf("good")
        text = b"somebody wants this signed"
        for options in ({"content": text}, {"content": text * 2}, {"content": b"h" * 20}, {"content": b"h" * 64},
                        {"content": b"r" * 64 + text, "kind": KEY_EXCHANGE12},
                        {"content": b"r" * 64 + b"\x03\x00\x17\x41" + b"\x02" * 65, "kind": KEY_EXCHANGE12},
                        {"content": b"r" * 64 + b"\x03\x00\x1d\x20" + b"x" * 33, "kind": KEY_EXCHANGE12},
                        {"content": b"r" * 64 + b"\x01\x00" + b"\xff" * 256 + b"\x00\x01\x02\x01\x00" + b"y" * 256,
                         "kind": KEY_EXCHANGE12},
                        {"content": b"r" * 64 + b"\x03\x00\x1d\x20" + b"x" * 32, "kind": KEY_EXCHANGE12, "role": CLIENT},
                        {"content": text, "kind": HANDSHAKE12, "role": CLIENT},
                        {"content": b"h" * 32, "kind": HANDSHAKE12, "role": CLIENT},
                        {"content": b"\x01\x00\x00\x26\x03\x03" + b"r" * 36, "kind": HANDSHAKE12, "role": CLIENT},
                        {"content": b"h" * 32, "kind": 5}, {"content": b"h" * 32, "kind": 0},
                        {"content": b"h" * 32, "scheme": 0x0201}, {"content": b"h" * 32, "scheme": RSA_PSS_SHA256}):
            with self.subTest(**options):
                self.assertRefused(errno.EINVAL, sign_message("git", leaf, **options))
        # Not refused, so that all of these were for their own reasons.
        self.assertTrue(self.signature(b"h" * 32))
        self.assertTrue(self.signature(b"r" * 64 + b"\x03\x00\x1d\x20" + b"x" * 32, kind=KEY_EXCHANGE12))

    def test_pkcs_1_is_for_tls_1_2_only(self):
        self.assertRefused(errno.EINVAL, sign_message("rsa", self.leaf("rsa"), b"h" * 32, scheme=RSA_PKCS1_SHA256))
        self.assertTrue(self.signature(b"r" * 64 + b"\x03\x00\x1d\x20" + b"x" * 32, identity="rsa", leaf="rsa",
                                       kind=KEY_EXCHANGE12, scheme=RSA_PKCS1_SHA256))

    def test_minimum_version_leaves_nothing_that_could_be_something_else(self):
        exchange = b"r" * 64 + b"\x03\x00\x1d\x20" + b"x" * 32
        self.assertRefused(errno.EACCES, sign_message("new", self.leaf("good"), exchange, kind=KEY_EXCHANGE12))
        self.assertTrue(self.signature(b"h" * 32, identity="new"))
        mount = self.companion(self.kd)
        ours, theirs = tcp_pair()
        self.peer(theirs, client_context(self.certs, version=TLS12), echo, name=NAME)
        connection = mount.connection()
        with ours:
            connection.say(f"fd {ours.fileno()}", "identity new")
            self.assertErrno(errno.EACCES, connection.say, "server")
        self.assertRegex(connection.status()["Error"], "identity new: it is for TLS 1.3 only")

    def test_a_certificate_that_is_not_the_identitys_is_estale(self):
        self.assertRefused(errno.ESTALE, sign_message("git", self.leaf("rsa"), b"h" * 32))

    def test_garbage_is_answered_with_an_error_and_disturbs_nobody(self):
        random = Random(21)
        good = sign_message("git", self.leaf("good"), b"h" * 32)
        with self.kd.guest() as guest:
            for _ in range(500):
                size = random.choice((1, 2, 7, 8, 9, 60, 300, 4000))
                message = random.randbytes(size)
                if random.random() < 0.7:
                    broken = bytearray(good)
                    for _ in range(random.randrange(1, 4)):
                        broken[random.randrange(8)] = random.randrange(256)
                    message = bytes(broken)
                try:
                    guest.ask(message)
                except Refused:
                    pass
            for size in (len(good) - 1, len(good) + 1, 128 << 10, 160 << 10):
                with self.assertRaises(Refused):
                    guest.ask((good + bytes(160 << 10))[:size])
            self.assertTrue(guest.ask(good))

    def test_one_who_does_not_read_or_goes_away_keeps_nobody(self):
        for _ in range(20):
            guest = self.kd.guest()
            guest.send(find_message("git"))
            guest.close()
        deaf = self.kd.guest()
        deaf.send(find_message("git"))
        self.assertTrue(self.kd.has("git"))

    @needs_root
    def test_too_many_sockets_of_one_user_leave_room_for_others(self):
        alice, _ = self.users()
        script = ("import socket, sys\n"
                  "kept, refused = [], 0\n"
                  "for _ in range(300):\n"
                  "    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); one.connect(sys.argv[1])\n"
                  "    kept.append(one)\n"
                  "kept[-1].settimeout(30)\n"
                  "print('refused' if kept[-1].recv(10) == b'' else 'let in', flush=True)\n"
                  "sys.stdin.read()\n")
        crowd = self.spawn([sys.executable, "-c", script, self.kd.socket], user=alice, stdin=subprocess.PIPE)
        crowd.wait_for_output("refused")
        self.assertTrue(self.kd.has("git"))

    def test_each_user_has_so_many_signatures_a_second(self):
        keyd = self.keyd("--rate", "5")
        keyd.identity("git")
        keyd.wait_for("git")
        leaf = self.leaf("good")

        def ask(owner):
            with Guest(keyd.socket) as guest:
                try:
                    guest.ask(sign_message("git", leaf, b"h" * 32, owner=owner))
                except Refused as why:
                    return why.errno
            return 0
        answers = [ask(1234) for _ in range(200)]
        self.assertEqual(set(answers), {0, errno.EDQUOT})
        self.assertGreaterEqual(answers.count(0), 10, "twice the rate at once")
        self.assertEqual(ask(5678), 0, "another user has their own")
        until(lambda: ask(1234) == 0, "the next second")
        mount = self.companion(keyd)
        while ask(0) == 0:
            pass
        seen = set()

        def handshake():
            ours, theirs = tcp_pair()
            self.peer(theirs, client_context(self.certs), echo, name=NAME)
            connection = mount.connection()
            with ours:
                try:
                    connection.say(f"fd {ours.fileno()}", "identity git", "server")
                except OSError as error:
                    seen.add((error.errno, connection.status()["Error"]))
            connection.close()
            return seen
        until(handshake, "one that is refused")
        self.assertEqual(seen, {(errno.EDQUOT, "identity git: user 0 has had the signatures of this second")})

    def test_every_signature_leaves_one_line_and_no_other_does(self):
        mount = self.companion(self.kd)
        connection, peer = self.serve(mount, "git", name=NAME)
        remote = connection.status()["Remote"]
        self.assertTalks(connection, peer)
        connection, peer = self.serve(mount, "rsa", context=client_context(self.certs, version=TLS12))
        self.assertTalks(connection, peer)
        self.signature(b"h" * 32, owner=4711, role=CLIENT, peer="evil'\n\x1b[2Jtlskeyd: signed: user 1")
        lines = [line for line in self.kd.output().splitlines() if " signed: " in line]
        self.assertEqual(lines[0], f"tlskeyd: signed: user 0 identity git as server: ecdsa_sha256, TLS 1.3, peer '{remote}'")
        self.assertRegex(lines[1], "^tlskeyd: signed: user 0 identity rsa as server: rsa_(pss|pkcs1)_sha256, TLS 1.2, peer")
        self.assertRegex(lines[2], "^tlskeyd: signed: user 4711 identity git as client: ecdsa_sha256, TLS 1.3, peer 'evil")
        self.assertEqual(len(lines), 3)
        self.assertRefused(errno.ENOENT, find_message("nothing", owner=4711))
        self.assertIn("refused: user 4711 identity nothing: not there", self.kd.output())

    def test_a_signature_that_the_log_does_not_take_is_given_to_nobody(self):
        keyd = Keyd(self)
        keyd.identity("git")
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        keyd.start(stderr=writing)
        keyd.wait_for("git")
        try:
            while True:
                os.write(writing, b"x" * 4096)
        except BlockingIOError:
            pass
        message = sign_message("git", self.leaf("good"), b"h" * 32)
        with keyd.guest() as guest, self.assertRaises(Refused) as caught:
            guest.ask(message)
        self.assertEqual(caught.exception.errno, errno.EIO)
        while len(os.read(reading, 1 << 16)) == 1 << 16:
            pass
        with keyd.guest() as guest:
            self.assertTrue(guest.ask(message))
        os.close(reading)
        os.close(writing)


class Renewal(Identities):
    """Files change under a tlskeyd that serves."""

    def shown(self, mount, identity="git"):
        context = client_context(self.certs)
        subject = []

        def script(peer):
            subject.append(peer.tls.getpeercert()["subject"][0][0][1])
            return echo(peer)
        connection, peer = self.serve(mount, identity, context=context, script=script)
        self.assertTalks(connection, peer)
        connection.close()
        return subject[0]

    def test_a_renewed_certificate_serves_the_next_handshake_and_none_fails(self):
        keyd = self.keyd()
        keyd.identity("git", "good")
        keyd.wait_for("git")
        mount = self.companion(keyd)
        over = threading.Event()

        def handshakes():
            seen = []
            while not over.is_set():
                seen.append(self.shown(mount))
            return seen
        workers = [self.background(handshakes) for _ in range(3)]
        for _ in range(6):
            for leaf in ("rsa", "p384", "good"):
                keyd.credential("git", leaf)
                until(lambda: self.shown(mount) == leaf, f"{leaf} is served")
        over.set()
        seen = set().union(*(worker.result() for worker in workers))
        self.assertEqual(seen, {"good", "rsa", "p384"})
        self.assertNotIn("does not fit", keyd.output(), "what is half renewed is no news")

    def test_a_handshake_that_had_begun_goes_on_with_the_old_key(self):
        keyd = self.keyd()
        keyd.identity("git", "good")
        keyd.wait_for("git")
        mount = self.companion(keyd)
        ours, theirs = tcp_pair()
        connection = mount.connection()
        with ours:
            connection.say(f"fd {ours.fileno()}", "identity git")
            answered = self.background(connection.say, "server")
            until(lambda: connection.status()["State"] == "Handshaking", "the old certificate is taken")
            keyd.credential("git", "rsa")
            until(lambda: self.shown(mount) == "rsa", "the new one")
            peer = self.peer(theirs, client_context(self.certs), echo, name=NAME)
            answered.result()
        self.assertTalks(connection, peer)

    def test_a_broken_renewal_is_said_and_the_old_one_serves_on(self):
        keyd = self.keyd()
        keyd.identity("git", "good")
        keyd.wait_for("git")
        mount = self.companion(keyd)
        pem, key = self.certs.text("rsa.pem"), self.certs.text("rsa.key")
        for name, content, text in (("git.pem", b"garbage", "no certificate in it"),
                                    ("git.pem", pem[:len(pem) // 2], "git.pem"),
                                    ("git.key", b"garbage", "no private key in it"),
                                    ("git.key", key, "it does not fit the certificate")):
            with self.subTest(file=name, text=text):
                before = keyd.output().count("serves on")
                keyd.place(name, content, 0o600)
                until(lambda: keyd.output().count("serves on") > before, "the report")
                self.assertRegex(keyd.output().splitlines()[-1], rf"identity git: .*{name}: .*; what was good before")
                self.assertIn(text, keyd.output())
                self.assertEqual(self.shown(mount), "good")
                keyd.credential("git", "good")
        keyd.credential("git", "rsa")
        until(lambda: self.shown(mount) == "rsa", "the mended one")
        keyd.configure("git", "nonsense\n")
        until(lambda: "line 1: unknown key 'nonsense'" in keyd.output(), "the report")
        self.assertEqual(self.shown(mount), "rsa")

    def test_identities_come_change_hands_and_go(self):
        keyd = self.keyd()
        mount = self.companion(keyd)
        self.assertFalse(keyd.has("git"))
        keyd.identity("git", roles="client")
        keyd.wait_for("git", role=CLIENT)
        self.assertFalse(keyd.has("git", SERVER))
        keyd.identity("git", roles="server")
        until(lambda: keyd.has("git", SERVER), "the other role")
        self.assertFalse(keyd.has("git", CLIENT))
        self.assertEqual(self.shown(mount), "good")
        (keyd.identities / "git.conf").unlink()
        until(lambda: not keyd.has("git"), "gone")
        connection = mount.connection()
        ours, theirs = tcp_pair()
        with ours, theirs:
            connection.say(f"fd {ours.fileno()}", "identity git")
            self.assertErrno(errno.ENOENT, connection.say, "server")

    def test_links_are_followed_to_what_they_lead_to_now(self):
        """As certbot renews: links in one directory to files in another."""
        keyd = self.keyd()
        archive = keyd.dir / "archive"
        archive.mkdir()
        for leaf in ("good", "rsa"):
            for kind in ("pem", "key"):
                (archive / f"{leaf}.{kind}").write_bytes(self.certs.text(f"{leaf}.{kind}"))
                (archive / f"{leaf}.{kind}").chmod(0o600)

        def link(leaf):
            for kind in ("pem", "key"):
                new = keyd.keys / f".git.{kind}.new"
                new.symlink_to(archive / f"{leaf}.{kind}")
                new.rename(keyd.keys / f"git.{kind}")
        link("good")
        keyd.configure("git", f"cert {keyd.keys}/git.pem\nkey {keyd.keys}/git.key\nusers *\nroles server\n")
        keyd.wait_for("git")
        mount = self.companion(keyd)
        self.assertEqual(self.shown(mount), "good")
        link("rsa")
        until(lambda: self.shown(mount) == "rsa", "the renewed one")


class Death(Identities):
    def handshake(self, mount, seen):
        ours, theirs = tcp_pair()
        peer = self.peer(theirs, client_context(self.certs), lambda peer: None, name=NAME)
        connection = mount.connection()
        with ours:
            try:
                connection.say(f"fd {ours.fileno()}", "identity git", "server")
                seen.append(0)
            except OSError as error:
                seen.append(error.errno)
        connection.close()
        try:
            peer.result()
        except (ssl.SSLError, OSError):
            pass
        return seen[-1]

    def test_killed_and_started_again_it_serves_on(self):
        keyd = self.keyd()
        keyd.identity("git")
        keyd.wait_for("git")
        mount = self.companion(keyd)
        self.assertEqual(self.handshake(mount, []), 0)
        for _ in range(5):
            keyd.process.signal(9)
            keyd.process.wait()
            self.assertEqual(self.handshake(mount, []), errno.ENODEV)
            keyd.start()
            keyd.wait_for("git")
            self.assertEqual(self.handshake(mount, []), 0)

    def test_behind_a_socket_that_stays_no_handshake_notices(self):
        keyd = Keyd(self)
        keyd.identity("git")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind(str(keyd.socket))
            listening.listen(128)
            keyd.start(listening=listening)
            mount = self.companion(keyd)
            over, seen = threading.Event(), []

            def handshakes():
                while not over.is_set():
                    self.handshake(mount, seen)
            workers = [self.background(handshakes) for _ in range(2)]
            for round in range(8):
                before = len(seen)
                until(lambda: len(seen) > before + 5, f"handshakes; they were {seen}")
                keyd.process.signal(9)
                keyd.process.wait()
                keyd.start(listening=listening)
            over.set()
            for worker in workers:
                worker.result()
            self.assertEqual(keyd.stop(), 0)
        self.assertEqual(set(seen), {0})

    def test_one_that_does_not_answer_is_waited_for_so_long_and_others_go_on(self):
        keyd = self.keyd()
        keyd.identity("git")
        keyd.wait_for("git")
        mount = self.companion(keyd)
        self.assertEqual(self.handshake(mount, []), 0)
        keyd.process.signal(19)
        waiting = self.background(self.handshake, mount, [])
        for _ in range(10):
            connection, peer = self.accept(mount)
            self.assertTalks(connection, peer)
        self.assertEqual(waiting.result(), errno.ETIMEDOUT)
        keyd.process.signal(18)
        self.assertEqual(self.handshake(mount, []), 0)

    def test_it_ends_when_told_and_leaves_no_socket(self):
        keyd = self.keyd()
        self.assertEqual(keyd.stop(), 0)
        self.assertFalse(keyd.socket.exists())

    def test_two_do_not_share_a_socket(self):
        keyd = self.keyd()
        done = self.run_program([program("tlskeyd"), "--socket", keyd.socket, "-f", keyd.identities])
        self.assertEqual(done.returncode, 111)
        self.assertIn("is served already", done.stderr)


class Secrets(Identities):
    """Where key bytes are, and how well they are kept."""

    @needs_root
    def test_no_key_byte_is_in_companion_or_program(self):
        traces = traces_of(self.certs("rsa.key"))
        keyd = self.keyd()
        keyd.identity("rsa", "rsa")
        keyd.wait_for("rsa")
        mount = self.companion(keyd)
        port = free_port()
        server = self.spawn([program("tlssrv"), "--identity", "rsa", "-l", f"127.0.0.1:{port}", "cat"],
                            environment={"TLSFS": str(mount.path)})
        until(lambda: listens(port), "tlssrv listens")
        client = self.spawn([program("tlsclient"), "-c", self.certs.ca, f"localhost:{port}"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, environment={"TLSFS": str(mount.path)})
        client.say("x\n")
        self.assertEqual(client.stdout.readline(), b"x\n")
        for pid in [mount.pid, *descendants(mount.pid), server.pid, *descendants(server.pid), client.pid]:
            self.assertEqual(memory_has(pid, traces), set(), f"the key is in {command(pid)}")
        kept = memory_has(keyd.pid, traces)
        self.assertTrue(kept, "the scan finds it where it is")
        self.assertFalse(kept & {"the PEM text", "the DER bytes"}, "what it was read from is wiped")

    @needs_root
    def test_a_key_that_was_replaced_long_ago_is_wiped_when_its_identity_goes(self):
        traces = traces_of(self.certs("rsa.key"))
        keyd = self.keyd()
        keyd.identity("rsa", "rsa")
        keyd.wait_for("rsa")
        self.assertTrue(memory_has(keyd.pid, traces))
        (keyd.identities / "rsa.conf").unlink()
        until(lambda: not memory_has(keyd.pid, traces), "its numbers are wiped")

    @needs_root
    def test_its_memory_is_locked_and_its_calls_are_few(self):
        if sanitized("tlskeyd"):
            self.skipTest("a sanitizer looks into its own process, and maps terabytes")
        keyd = self.keyd()
        keyd.identity("git")
        keyd.wait_for("git")
        with open(f"/proc/{keyd.pid}/status", encoding="latin-1") as file:
            status = dict(re.findall(r"^(\w+):\s*(.*)$", file.read(), re.MULTILINE))
        self.assertEqual(status["Seccomp"], "2")
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertGreater(int(status["VmLck"].split()[0]), 0)
        limits = Path(f"/proc/{keyd.pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size +0 +0 ")

    def test_no_pin_and_no_key_is_in_a_message(self):
        keyd = self.keyd()
        keyd.credential("git", "good")
        keyd.configure("git", f"cert {keyd.keys}/git.pem\nkey pkcs12:token=x?pin-value=4711\nusers *\nroles server\n")
        until(lambda: "line 2: key: neither a path nor pkcs11:" in keyd.output(), "the report")
        text = f"cert {keyd.keys}/git.pem\nkey pkcs11:token=x?pin-value=4711&pin=x%\nusers *\nroles server\n"
        keyd.configure("git", text)
        until(lambda: "git.conf: everybody can read it" in keyd.output(), "the report")
        keyd.configure("git", text, 0o600)
        until(lambda: "no URI of PKCS #11" in keyd.output(), "the report")
        self.assertNotIn("4711", keyd.output())


class Commands(Identities):
    """--identity of the commands."""

    def setUp(self):
        super().setUp()
        self.kd = self.keyd()
        self.kd.identity("git", roles="server")
        self.kd.identity("laptop", "client", roles="client")
        self.kd.wait_for("git")
        self.kd.wait_for("laptop", role=CLIENT)
        self.tlsfs = self.companion(self.kd)
        os.environ["TLSFS"] = str(self.tlsfs.path)

    def test_tlssrv_and_tlsclient(self):
        port = free_port()
        server = self.spawn([program("tlssrv"), "--identity", "git", "-a", self.certs.ca, "-v", "-l", f"127.0.0.1:{port}", "cat"])
        until(lambda: listens(port), "tlssrv listens")
        done = self.run_program([program("tlsclient"), "-c", self.certs.ca, "--identity", "laptop", f"localhost:{port}"],
                                input="x\n")
        self.assertRan(done)
        self.assertEqual(done.stdout, "x\n")
        server.wait_for_output("CN=client")

    def test_tlstunnel_both_ways(self):
        ports = [free_port() for _ in range(3)]
        echo_server = self.spawn([sys.executable, "-c", "import socket, sys\n"
                                  f"s = socket.create_server(('127.0.0.1', {ports[2]})); s.listen()\n"
                                  "while True:\n c, _ = s.accept(); c.sendall(c.recv(100)); c.close()\n"])
        until(lambda: listens(ports[2]), "the plain server")
        server = self.spawn([program("tlstunnel"), "server", "-l", f"127.0.0.1:{ports[1]}", "-t", f"127.0.0.1:{ports[2]}",
                             "--identity", "git", "-a", self.certs.ca])
        client = self.spawn([program("tlstunnel"), "client", "-l", f"127.0.0.1:{ports[0]}", "-t", f"127.0.0.1:{ports[1]}",
                             "-n", NAME, "--ca-file", self.certs.ca, "--identity", "laptop"])
        until(lambda: listens(ports[0]) and listens(ports[1]), "both tunnels")
        with socket.create_connection(("127.0.0.1", ports[0])) as plain:
            plain.settimeout(TIMEOUT)
            plain.sendall(b"through both")
            self.assertEqual(plain.recv(100), b"through both")
        for process in (server, client, echo_server):
            self.assertIsNone(process.code())

    def test_what_contradicts_itself_is_said(self):
        cert = ["-c", self.certs("good.pem"), "-k", self.certs("good.key")]
        tunnel = [program("tlstunnel"), "server", "-l", "127.0.0.1:0", "-t", "127.0.0.1:1"]
        for argv in ([program("tlssrv"), *cert, "--identity", "git", "cat"], [program("tlssrv"), "cat"],
                     [program("tlssrv"), "-c", self.certs("good.pem"), "cat"], tunnel, [*tunnel, *cert, "--identity", "git"],
                     [program("tlsclient"), "-C", self.certs("good.pem"), "-K", self.certs("good.key"), "--identity", "x",
                      "localhost:1"]):
            with self.subTest(argv=argv):
                done = self.run_program(argv)
                self.assertEqual(done.returncode, 100, done.stderr)
        for argv in ([program("tlssrv"), "--identity", "nothing", "-l", "127.0.0.1:0", "cat"],
                     [*tunnel, "--identity", "nothing"]):
            with self.subTest(argv=argv):
                done = self.run_program(argv)
                self.assertEqual(done.returncode, 111, done.stderr)
                self.assertIn("identity nothing: not there, or not for user 0 as server", done.stderr)


def needs(*programs):
    missing = [each for each in programs if shutil.which(each) is None]
    return unittest.skipIf(missing, f"{', '.join(missing)} is not installed")


SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")


@unittest.skipUnless(SOFTHSM.exists(), "softhsm2 is not installed")
class Tokens(Identities):
    """Keys in a PKCS #11 token; softhsm2 is one."""

    def setUp(self):
        super().setUp()
        self.store = self.dir / "tokens"
        self.store.mkdir()
        conf = self.dir / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {self.store}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.environment = {"SOFTHSM2_CONF": str(conf)}
        self.hsm("--init-token", "--free", "--label", "test", "--so-pin", "0000", "--pin", "1234")
        self.kd = self.keyd(environment=self.environment)
        self.kd.place("pin", b"1234\n", 0o600)

    def hsm(self, *arguments):
        done = self.run_program(["softhsm2-util", *arguments], environment=self.environment)
        self.assertRan(done)

    def put(self, leaf):
        self.hsm("--import", self.certs(f"{leaf}.key"), "--token", "test", "--label", leaf, "--id",
                 f"{len(os.listdir(self.store)):02}{ord(leaf[0]):02x}", "--pin", "1234")

    def uri(self, leaf, pin=None):
        pin = pin or f"pin-source=file:{self.kd.keys}/pin"
        return f"pkcs11:token=test;object={leaf}?module-path={SOFTHSM}&{pin}"

    def in_token(self, name, leaf, **more):
        self.put(leaf)
        self.kd.identity(name, leaf, key=self.uri(leaf), **more)
        (self.kd.keys / f"{name}.key").unlink()
        until(lambda: f"identity {name} is there" in self.kd.output(), "the identity")

    def failure(self, mount, identity):
        ours, theirs = tcp_pair()
        self.peer(theirs, client_context(self.certs), echo, name=NAME)
        connection = mount.connection()
        with ours:
            connection.say(f"fd {ours.fileno()}", f"identity {identity}")
            try:
                connection.say("server")
            except OSError as error:
                return error.errno, connection.status()["Error"]
        return 0, ""

    def test_every_kind_of_key_in_both_roles_and_versions(self):
        mount = self.companion(self.kd)
        for leaf in ("good", "rsa", "p384", "ed25519"):
            self.in_token(leaf, leaf)
            for version, number in VERSIONS.items():
                with self.subTest(key=leaf, version=version):
                    self.assertTalks(*self.serve(mount, leaf, context=client_context(self.certs, version=number)))
                    context = server_context(self.certs, client_ca=self.certs.ca, version=number)
                    self.assertTalks(*self.visit(mount, leaf, context=context))

    def test_pkcs_1(self):
        self.in_token("rsa", "rsa")
        mount = self.companion(self.kd)
        for hash in ("SHA256", "SHA384", "SHA512"):
            ours, client = s_client(self, "-tls1_2", "-verify_return_error", "-sigalgs", f"RSA+{hash}:ECDSA+SHA256")
            connection = mount.connection()
            with ours:
                connection.say(f"fd {ours.fileno()}", "identity rsa", "server")
            write_all(connection.data(), b"plaintext\n")
            client.wait_for_output("plaintext")

    def test_unplugged_and_plugged_in_again(self):
        self.in_token("git", "good")
        mount = self.companion(self.kd)
        self.assertTalks(*self.serve(mount, "git"))
        for _ in range(2):
            away = self.dir / "away"
            self.store.rename(away)
            self.store.mkdir()
            code, text = self.failure(mount, "git")
            self.assertEqual(code, errno.ENODEV, text)
            self.assertRegex(text, "^identity git: the token")
            self.store.rmdir()
            away.rename(self.store)
            self.assertTalks(*self.serve(mount, "git"))
        self.assertRegex(self.kd.output(), "failed: the token.*: user 0 identity git as server")

    def test_plugged_in_after_the_start(self):
        self.kd.identity("git", "good", key=self.uri("good"))
        until(lambda: "identity git is there" in self.kd.output(), "the identity")
        mount = self.companion(self.kd)
        self.assertEqual(self.failure(mount, "git")[0], errno.ENODEV)
        self.put("good")
        self.assertTalks(*self.serve(mount, "git"))

    def test_another_key_than_the_certificates_signs_nothing(self):
        self.put("p521")
        self.put("rsa")
        self.kd.identity("git", "good", key=self.uri("rsa"))
        self.kd.identity("other", "p521", key=self.uri("p521"))
        until(lambda: "identity other is there" in self.kd.output(), "the identities")
        mount = self.companion(self.kd)
        code, text = self.failure(mount, "git")
        self.assertIn(code, (errno.EINVAL, errno.ENODEV), text)
        self.put("good")
        self.kd.credential("other", "good")
        self.kd.configure("other", f"cert {self.kd.keys}/other.pem\nkey {self.uri('p521')}\nusers *\nroles server\n")
        until(lambda: "identity other is read anew" in self.kd.output(), "the identity")
        code, text = self.failure(mount, "other")
        self.assertEqual(code, errno.EINVAL, text)
        self.assertIn("not one by the certificate's key", text)

    def test_a_wrong_pin_is_tried_once_so_that_the_token_is_not_locked(self):
        self.put("good")
        self.kd.identity("git", "good", key=self.uri("good", pin="pin-value=9999"))
        until(lambda: "identity git is there" in self.kd.output(), "the identity")
        mount = self.companion(self.kd)
        for _ in range(3):
            code, text = self.failure(mount, "git")
            self.assertEqual(code, errno.EACCES, text)
            self.assertIn("the token: the PIN", text)
        self.assertNotIn("9999", self.kd.output() + mount.process.output())
        self.kd.configure("git", f"cert {self.kd.keys}/git.pem\nkey {self.uri('good')}\nusers *\nroles server\n")
        until(lambda: "identity git is read anew" in self.kd.output(), "the identity")
        self.assertTalks(*self.serve(mount, "git"))

    def test_many_at_once(self):
        self.in_token("git", "good")
        mount = self.companion(self.kd)

        def some():
            for _ in range(10):
                self.assertTalks(*self.serve(mount, "git"))
        for worker in [self.background(some) for _ in range(4)]:
            worker.result()


@needs("swtpm", "tpm2_createprimary")
class Tpm(Identities):
    """Keys in a TPM; swtpm is one."""

    def setUp(self):
        super().setUp()
        self.state = self.dir / "tpm"
        self.state.mkdir()
        path = self.state / "socket"
        self.tcti = f"swtpm:path={path}"
        self.swtpm = self.spawn(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state}", "--server",
                                 f"type=unixio,path={path}", "--ctrl", f"type=unixio,path={path}.ctrl", "--flags",
                                 "not-need-init,startup-clear"])
        until(path.exists, "swtpm's socket")

    def tool(self, *arguments):
        done = self.run_program(arguments, environment={"TPM2TOOLS_TCTI": self.tcti}, cwd=self.state)
        self.assertRan(done, " ".join(arguments))

    def put(self, leaf, kind, handle):
        """The key of a leaf, at a persistent handle."""
        self.tool("tpm2_createprimary", "-C", "o", "-c", "primary.ctx")
        self.tool("tpm2_import", "-C", "primary.ctx", "-G", kind, "-i", self.certs(f"{leaf}.key"), "-u", "k.pub", "-r", "k.priv")
        self.tool("tpm2_flushcontext", "-t")
        self.tool("tpm2_load", "-C", "primary.ctx", "-u", "k.pub", "-r", "k.priv", "-c", "k.ctx")
        self.tool("tpm2_flushcontext", "-t")
        self.tool("tpm2_evictcontrol", "-C", "o", "-c", "k.ctx", handle)
        self.tool("tpm2_flushcontext", "-t")

    def test_a_server_and_a_client_sign_in_the_tpm(self):
        self.put("good", "ecc", "0x81000001")
        self.put("rsa", "rsa", "0x81000002")
        keyd = self.keyd(environment={"TPM2OPENSSL_TCTI": self.tcti})
        for leaf, handle in (("good", "handle:0x81000001"), ("rsa", "handle:0x81000002")):
            keyd.identity(leaf, leaf, key=handle)
            (keyd.keys / f"{leaf}.key").unlink()
            until(lambda: f"identity {leaf} is there" in keyd.output(), f"the identity; tlskeyd said {keyd.output()}")
        mount = self.companion(keyd)
        for leaf in ("good", "rsa"):
            for version, number in VERSIONS.items():
                with self.subTest(key=leaf, version=version):
                    self.assertTalks(*self.serve(mount, leaf, context=client_context(self.certs, version=number)))
                    context = server_context(self.certs, client_ca=self.certs.ca, version=number)
                    self.assertTalks(*self.visit(mount, leaf, context=context))
        self.swtpm.kill_group()
        ours, theirs = tcp_pair()
        self.peer(theirs, client_context(self.certs), echo, name=NAME)
        connection = mount.connection()
        with ours:
            connection.say(f"fd {ours.fileno()}", "identity good")
            self.assertErrno(errno.ENODEV, connection.say, "server")

    def test_a_handle_with_nothing_behind_it_is_said(self):
        keyd = self.keyd(environment={"TPM2OPENSSL_TCTI": self.tcti})
        keyd.identity("git", "good", key="handle:0x8100000f")
        until(lambda: "key: handle:0x8100000f" in keyd.output(), f"the report; tlskeyd said {keyd.output()}")
