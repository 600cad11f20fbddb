# SPDX-License-Identifier: MIT
"""Point 23: a server says by name which verified clients it serves."""

import errno
import os
import ssl

from harness import Case
from harness.certs import NAME
from harness.config import program
from harness.peers import TLS12, TLS13, Peer, client_context, tcp_pair
from harness.servers import free_port, listens
from harness.wait import until

# The leaf "client" has the subject CN=client and the address alice@client.test; "good" has two DNS names.
LETS_IN = {"client": ("cn:client", "cn:cl*t", "cn:other cn:client", "email:alice@client.test", "email:*@client.test"),
           "good": ("dns:server.test", "dns:*.test", "dns:SERVER.test", "cn:good")}
KEEPS_OUT = {"client": ("cn:alice", "cn:clien", "dns:client", "email:bob@client.test", "email:*@*", "uri:*"),
             "good": ("dns:test", "dns:*.*.test", "cn:server.test", "dns:*.server.test")}


class Allow(Case):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def serve(self, *lines, leaf="client", version=None, ca="ca.pem"):
        """(errno of `server` or None, connection, what the client met)"""
        ours, theirs = tcp_pair()
        context = client_context(self.certs, leaf=leaf, version=version)

        def talk(peer):
            # In TLS 1.3 a client learns of its refusal with its first read.
            try:
                return peer.read()
            except ssl.SSLError as error:
                return error.reason

        def run():
            with theirs:
                peer = Peer(theirs.fileno(), theirs.fileno(), context, name=NAME)
                try:
                    peer.handshake()
                except ssl.SSLError as error:
                    return error.reason
                return talk(peer)
        met = self.background(run)
        connection = self.tlsfs.connection()
        with ours:
            if ca:
                connection.put("ca", self.certs.text(ca))
            connection.put("cert", self.certs.text("good.pem"))
            connection.put("key", self.certs.text("good.key"))
            connection.say(f"fd {ours.fileno()}", *lines)
            try:
                connection.say("server")
            except OSError as error:
                ours.close()
                connection.close()
                return error.errno, connection, met
        os.write(connection.data(), b"welcome")
        self.assertEqual(met.result(), b"welcome")
        return None, connection, met

    def test_one_rule_that_matches_is_enough(self):
        for leaf, rules in LETS_IN.items():
            for rule in rules:
                with self.subTest(rule):
                    self.assertIsNone(self.serve("verify ca", f"allow {rule}", leaf=leaf)[0])

    def test_without_one_the_handshake_fails_on_both_sides(self):
        for version in (TLS12, TLS13):
            for leaf, rules in KEEPS_OUT.items():
                for rule in rules:
                    with self.subTest(rule):
                        code, _, met = self.serve("verify ca", f"allow {rule}", leaf=leaf, version=version)
                        self.assertEqual(errno.errorcode.get(code), "EKEYREJECTED")
                        self.assertRegex(str(met.result()), "ALERT_BAD_CERTIFICATE")

    def test_status_says_who_was_kept_out(self):
        ours, theirs = tcp_pair()
        self.peer(theirs, client_context(self.certs, leaf="client"), lambda peer: self.refuses(peer.read), name=NAME)
        connection = self.tlsfs.connection()
        with ours:
            for name, file in (("ca", "ca.pem"), ("cert", "good.pem"), ("key", "good.key")):
                connection.put(name, self.certs.text(file))
            connection.say(f"fd {ours.fileno()}", "verify ca", "allow cn:bob")
            self.assertErrno(errno.EKEYREJECTED, connection.say, "server")
        self.assertEqual(connection.status()["Error"],
                         "the certificate was not accepted: no allow rule matches (CN=client)")

    def test_a_rule_is_no_trust(self):
        """A stranger with the right name stays out, and a server that verifies nobody cannot go by names."""
        self.assertEqual(self.serve("verify ca", "allow cn:stranger", leaf="stranger")[0], errno.EKEYREJECTED)
        self.assertEqual(self.serve("allow cn:client")[0], errno.EINVAL)
        self.assertEqual(self.serve("verify none", "allow cn:client")[0], errno.EINVAL)
        pin = f"verify pin {self.certs.pin('client')}"
        self.assertIsNone(self.serve(pin, "allow cn:client", ca=None)[0])
        self.assertEqual(self.serve(pin, "allow cn:bob", ca=None)[0], errno.EKEYREJECTED)

    def test_the_last_word_holds(self):
        self.assertIsNone(self.serve("verify ca", "allow cn:bob", "allow cn:client")[0])
        self.assertEqual(self.serve("verify ca", "allow cn:client", "allow cn:bob")[0], errno.EKEYREJECTED)

    def test_what_is_no_rule(self):
        connection = self.tlsfs.connection()
        for line in ("allow", "allow alice", "allow cn:", "allow cn:a alice", "allow CN:alice", "allow ip:127.0.0.1"):
            self.assertErrno(errno.EINVAL, connection.say, line)
        ours, theirs = tcp_pair()
        with ours, theirs:
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(f"fd {ours.fileno()}", "allow cn:a")
            self.assertErrno(errno.EINVAL, connection.say, f"client {NAME}")
        self.assertIn("servers", connection.status()["Error"])

    def test_the_whole_of_the_public_is_not_let_in(self):
        """Anybody can have a certificate of a public authority."""
        code, _, _ = self.serve("verify system", ca=None)
        self.assertEqual(code, errno.EINVAL)


class Commands(Case):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()
        self.own = ["-c", self.certs("good.pem"), "-k", self.certs("good.key")]

    def start(self, *argv):
        port = free_port()
        server = self.spawn([*argv, "-l", f"127.0.0.1:{port}"], environment={"TLSFS": str(self.tlsfs.path)})
        until(lambda: listens(port), f"{argv[0]} on its port; it said: {server.output()}")
        return server, port

    def ask(self, port, leaf):
        return self.run_program(["openssl", "s_client", "-quiet", "-verify_quiet", "-connect", f"127.0.0.1:{port}",
                                 "-CAfile", self.certs.ca, "-servername", NAME, "-cert", self.certs(f"{leaf}.leaf.pem"),
                                 "-cert_chain", self.certs(f"{leaf}.pem"), "-key", self.certs(f"{leaf}.key")])

    def test_tlssrv_serves_whom_a_rule_names(self):
        port = free_port()
        server = self.spawn([program("tlssrv"), *self.own, "-a", self.certs.ca, "--allow", "cn:nobody", "--allow",
                             "email:*@client.test", "-l", f"127.0.0.1:{port}", "echo", "hello"],
                            environment={"TLSFS": str(self.tlsfs.path)})
        until(lambda: listens(port), f"tlssrv on its port; it said: {server.output()}")
        self.assertEqual(self.ask(port, "client").stdout, "hello\n")
        refused = self.ask(port, "second")
        self.assertEqual(refused.stdout, "")
        self.assertRegex(refused.stderr, "(?i)bad certificate")
        server.wait_for_output("no allow rule matches (CN=second)")
        self.assertEqual(self.ask(port, "client").stdout, "hello\n")

    def test_tlstunnel_serves_whom_a_rule_names(self):
        plain = free_port()
        self.spawn(["socat", f"TCP-LISTEN:{plain},bind=127.0.0.1,fork,reuseaddr", "SYSTEM:echo hello"])
        until(lambda: listens(plain), "the plain server")
        _, port = self.start(program("tlstunnel"), "server", *self.own, "-t", f"127.0.0.1:{plain}", "-a", self.certs.ca,
                             "--allow", "cn:client")
        self.assertEqual(self.ask(port, "client").stdout, "hello\n")
        refused = self.ask(port, "second")
        self.assertEqual(refused.stdout, "")
        self.assertRegex(refused.stderr, "(?i)bad certificate")

    def test_rules_that_cannot_hold_are_refused_at_start(self):
        for options, why in ((["--allow", "cn:x"], "CA file or pins"), (["-a", self.certs.ca, "--allow", "x"], "allow 'x'")):
            for argv in ([program("tlssrv"), *self.own, *options, "-l", "127.0.0.1:0", "cat"],
                         [program("tlstunnel"), "server", *self.own, *options, "-l", "127.0.0.1:0", "-t", "127.0.0.1:9"]):
                done = self.run_program(argv, environment={"TLSFS": str(self.tlsfs.path)})
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(why, done.stderr)
