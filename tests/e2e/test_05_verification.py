# SPDX-License-Identifier: MIT
"""Point 5: verification fails closed. Every refusal has its errno, its line in `status`, and exit code 98."""

import errno
import hashlib
import itertools
import os
import re
import socket
import ssl

from harness import Case, engine, program
from harness.certs import NAME
from harness.peers import client_context, server_context, tcp_pair, unix_pair
from harness.servers import s_server

NOBODY = "sha256:" + "00" * 32
NO_KEY = "spki:" + "11" * 32

# What the server shows, what the client asks for, and how it must end.
REFUSALS = {
    "a wrong name": ("good", "other.test", errno.EKEYREJECTED, "(?i)host.?name mismatch.*other.test"),
    "a name below": ("good", f"www.{NAME}", errno.EKEYREJECTED, "(?i)host.?name mismatch"),
    "an unknown issuer": ("stranger", NAME, errno.EKEYREJECTED, "issuer"),
    "an expired certificate": ("expired", NAME, errno.EKEYEXPIRED, "expired"),
    "a certificate not yet valid": ("future", NAME, errno.EKEYEXPIRED, "not yet valid"),
    "a self-signed certificate": ("selfsigned", NAME, errno.EKEYREJECTED, "self-signed"),
    "a chain without its intermediate": ("incomplete", NAME, errno.EKEYREJECTED, "issuer"),
    "an IP address without a matching SAN": ("good", "127.0.0.1", errno.EKEYREJECTED, "(?i)ip address mismatch.*127.0.0.1"),
    "another IP address": ("ip", "127.0.0.2", errno.EKEYREJECTED, "(?i)ip address mismatch"),
    "an IP certificate for a name": ("ip", NAME, errno.EKEYREJECTED, "(?i)mismatch"),
    "a name that stands only in the subject": ("good", "good", errno.EKEYREJECTED, "(?i)mismatch"),
}


class Refusals(Case):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def attempt(self, leaf, *lines, name=NAME, ca="ca.pem", pair=tcp_pair, verb=None):
        """A client's handshake with a server that shows `leaf`: the connection, established or failed."""
        ours, theirs = pair()

        def script(peer):
            peer.read_all()
        peer = self.peer(theirs, server_context(self.certs, leaf), script)
        connection = self.tlsfs.connection()
        with ours:
            if ca:
                connection.put("ca", self.certs.text(ca))
            connection.say(f"fd {ours.fileno()}", *lines)
            connection.failure = None
            try:
                connection.say(verb or (f"client {name}" if name else "client"))
            except OSError as error:
                connection.failure = error.errno
        connection.peer_thread = peer
        return connection

    def assertRefused(self, code, reason, *arguments, **options):
        connection = self.attempt(*arguments, **options)
        self.assertEqual(errno.errorcode.get(connection.failure), errno.errorcode[code])
        status = connection.status()
        self.assertEqual(status["State"], "Error")
        self.assertRegex(status["Error"], reason)
        self.assertNotIn("Verify", status)
        self.assertErrno(code, connection.data)
        with self.assertRaises((ssl.SSLError, ConnectionError), msg="the server must learn of it"):
            connection.peer_thread.result()

    def assertAccepted(self, verify, *arguments, **options):
        connection = self.attempt(*arguments, **options)
        self.assertIsNone(connection.failure, connection.status())
        self.assertEqual(connection.status()["Verify"], verify)
        connection.close()

    def test_the_good_ones_are_accepted(self):
        for leaf in ("good", "rsa"):
            for name in (NAME, "localhost", NAME.upper()):
                self.assertAccepted("ok", leaf, name=name)
        self.assertAccepted("ok", "ip", name="127.0.0.1")
        self.assertAccepted("ok", "ip", name="::1")
        self.assertAccepted("ok", "stranger", ca="strangers-ca.pem")
        self.assertAccepted("ok", "selfsigned", ca="selfsigned.pem")

    def test_each_bad_certificate_has_its_errno_and_its_reason(self):
        for what, (leaf, name, code, reason) in REFUSALS.items():
            with self.subTest(what):
                self.assertRefused(code, reason, leaf, name=name)

    def test_a_revoked_certificate_is_ekeyrevoked(self):
        self.assertRefused(errno.EKEYREVOKED, "revoked", "revoked", ca="ca-with-crl.pem")
        self.assertAccepted("ok", "good", ca="ca-with-crl.pem")

    def test_a_client_without_a_name_checks_the_address(self):
        self.assertRefused(errno.EKEYREJECTED, "(?i)ip address mismatch", "good", name=None)
        self.assertAccepted("ok", "ip", name=None)

    def test_a_client_without_a_name_or_address_is_refused(self):
        connection = self.attempt("good", name=None, pair=unix_pair)
        self.assertEqual(connection.failure, errno.EINVAL)
        self.assertAccepted("none", "good", "verify none", name=None, pair=unix_pair)
        self.assertAccepted("pin", "good", f"verify pin {self.certs.pin('good')}", name=None, pair=unix_pair)

    def test_pins_accept_what_they_match_and_nothing_else(self):
        for kind in ("sha256", "spki"):
            with self.subTest(kind):
                pin = self.certs.pin("selfsigned", kind)
                self.assertAccepted("pin", "selfsigned", f"verify pin {pin}", ca=None)
                self.assertAccepted("pin", "selfsigned", f"verify pin {NOBODY} {NO_KEY} {pin}", ca=None)
                self.assertRefused(errno.EKEYREJECTED, "pin", "good", f"verify pin {pin}")
                self.assertRefused(errno.EKEYREJECTED, "pin", "good", f"verify pin {NOBODY} {NO_KEY}")
        # A hash of one kind is no hash of the other.
        swapped = self.certs.pin("selfsigned", "sha256").replace("sha256", "spki")
        self.assertRefused(errno.EKEYREJECTED, "pin", "selfsigned", f"verify pin {swapped}", ca=None)
        # Nor is the issuer's pin the leaf's.
        issuer = "sha256:" + self.digest("intermediate.pem")
        self.assertRefused(errno.EKEYREJECTED, "pin", "good", f"verify pin {issuer}")

    def digest(self, name):
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certs.text(name).decode())).hexdigest()

    def test_verify_none_is_said_in_status(self):
        for leaf in ("good", "stranger", "expired", "selfsigned"):
            self.assertAccepted("none", leaf, "verify none", ca=None)

    def test_status_has_the_hash_that_a_pin_would_have(self):
        connection = self.attempt("good")
        self.assertEqual(connection.status()["PeerSHA256"].lower().replace(":", ""),
                         self.certs.pin("good").split(":")[1])

    def test_no_combination_of_options_makes_an_unverified_connection(self):
        """Every mixture of lines but `verify none` and a matching pin, against a stranger."""
        choices = (
            (None, "verify ca", "verify system", f"verify pin {NOBODY}"),
            (None, "version 1.2 1.2", "version 1.3"),
            (None, "session off"),
            (None, "engine user"),
            (None, "alpn http/1.1 h2"),
            ("ca.pem", None),
        )
        tried = 0
        for verify, version, session, engine, alpn, ca in itertools.product(*choices):
            if verify == "verify ca" and ca is None:
                continue  # see the next test
            lines = [line for line in (verify, version, session, engine, alpn) if line]
            connection = self.attempt("stranger", *lines, ca=ca)
            self.assertEqual(connection.failure, errno.EKEYREJECTED, (lines, ca, connection.status()))
            connection.close()
            tried += 1
        self.assertEqual(tried, 7 * 3 * 2 * 2 * 2)
        self.assertAccepted("ok", "stranger", "version 1.3", "session off", "alpn http/1.1 h2", ca="strangers-ca.pem")

    def test_verify_ca_without_a_ca_is_an_error(self):
        connection = self.attempt("good", "verify ca", ca=None)
        self.assertIsNotNone(connection.failure)
        self.assertNotEqual(connection.status()["State"], "Established")

    def test_a_broken_ca_does_not_fall_back_to_the_systems(self):
        mount = self.mount("--ca-file", self.certs.ca)
        connection = mount.connection()
        self.assertErrno(errno.EINVAL, connection.put, "ca", b"-----BEGIN CERTIFICATE-----\nxxx\n-----END CERTIFICATE-----\n")
        ours, theirs = tcp_pair()
        self.peer(theirs, server_context(self.certs), lambda peer: None)
        with ours:
            connection.say(f"fd {ours.fileno()}")
            self.assertErrno(errno.EINVAL, connection.say, f"client {NAME}")
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(f"client {NAME}")

    def test_an_unverified_session_is_never_resumed_into_a_verified_connection(self):
        context = server_context(self.certs, "stranger")

        def script(peer):
            peer.write(b"x")
            peer.read_all()
            return peer.tls.session_reused

        def attempt(*lines):
            ours, theirs = tcp_pair()
            peer = self.peer(theirs, context, script)
            connection = self.tlsfs.connection()
            with ours:
                connection.put("ca", self.certs.text("ca.pem"))
                connection.say(f"fd {ours.fileno()}", *lines, f"client {NAME}")
            os.read(connection.data(), 1)
            connection.close()
            return peer.result()
        self.assertFalse(attempt("verify none"))
        self.assertTrue(attempt("verify none"), "there is a session that could be resumed")
        self.assertErrno(errno.EKEYREJECTED, attempt)
        self.assertErrno(errno.EKEYREJECTED, attempt, f"verify pin {NOBODY}")

    def test_the_companions_ca_file_is_what_system_means(self):
        mount = self.mount("--ca-file", self.certs.ca)
        connection, _ = self.connect(mount, lambda peer: peer.read_all(), ca=None)
        self.assertEqual(connection.status()["Verify"], "ok")
        again, _ = self.connect(mount, lambda peer: peer.read_all(), ca=None, lines=["verify system"])
        self.assertEqual(again.status()["Verify"], "ok")
        refused = self.attempt("good", ca=None)
        self.assertEqual(refused.failure, errno.EKEYREJECTED, "another mount has other roots")


class SNI(Case):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def heard(self, *lines):
        """Dials a server with the lines and returns the name that the server heard."""
        heard = []
        context = server_context(self.certs, "ip" if "dial 127" in lines[0] else "good")
        context.sni_callback = lambda tls, name, _: heard.append(name)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)

            def accept():
                theirs, _ = listener.accept()
                return self.peer(theirs, context, lambda peer: peer.read_all()).result()
            peer = self.background(accept)
            connection = self.tlsfs.connection()
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(*(line.replace("PORT", str(listener.getsockname()[1])) for line in lines))
            self.assertEngine(connection)
            status = connection.status()
            connection.close()
            peer.result()
        return heard[0], status.get("Name")

    def test_the_server_hears_the_name_or_the_dialled_host_but_no_address(self):
        self.assertEqual(self.heard("dial localhost:PORT", "client"), ("localhost", "localhost"))
        self.assertEqual(self.heard("dial localhost:PORT", f"client {NAME}"), (NAME, NAME))
        self.assertIsNone(self.heard("dial 127.0.0.1:PORT", "client")[0])

    def test_a_server_that_shows_its_default_certificate_is_refused(self):
        for leaf, code in (("second", 1), ("good", 0)):
            server = s_server(self, leaf=leaf)
            done = self.run_program([program("tlsclient"), "-c", self.certs.ca, f"localhost:{server.port}", "true"],
                                    environment={"TLSFS": str(self.tlsfs.path)})
            self.assertEqual(done.returncode, 98 if code else 0, done.stderr)


class Commands(Case):
    """The same refusals by tlsclient: exit code 98 and one line that says why."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def tlsclient(self, leaf, *options, host="localhost"):
        server = s_server(self, leaf=leaf)
        return self.run_program([program("tlsclient"), *options, f"{host}:{server.port}", "sh", "-c", "echo connected >&2"],
                                environment={"TLSFS": str(self.tlsfs.path)})

    def assertRefused(self, reason, *arguments, **options):
        done = self.tlsclient(*arguments, **options)
        self.assertEqual((done.returncode, done.stdout), (98, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertRegex(done.stderr, reason)

    def assertAccepted(self, *arguments, **options):
        done = self.tlsclient(*arguments, **options)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", "connected\n"))

    def test_tlsclient_refuses_each_bad_certificate_in_one_line(self):
        for what, (leaf, name, _, reason) in REFUSALS.items():
            with self.subTest(what):
                self.assertRefused(reason, leaf, "-c", self.certs.ca, "-n", name)
        self.assertRefused("revoked", "revoked", "-c", self.certs("ca-with-crl.pem"))

    def test_tlsclient_accepts_the_good_ones(self):
        self.assertAccepted("good", "-c", self.certs.ca)
        self.assertAccepted("good", "-c", self.certs.ca, "-n", NAME)
        self.assertAccepted("ip", "-c", self.certs.ca, host="127.0.0.1")

    def test_tlsclient_without_options_trusts_the_system_only(self):
        self.assertRefused("issuer|self-signed", "good")
        self.assertRefused("issuer|self-signed", "stranger")

    def test_only_insecure_or_a_pin_accepts_a_stranger(self):
        self.assertAccepted("stranger", "--insecure")
        self.assertAccepted("stranger", "-p", self.certs.pin("stranger"))
        self.assertAccepted("stranger", "-p", self.certs.pin("stranger", "spki"))
        self.assertRefused("pin", "stranger", "-p", NOBODY)
        self.assertRefused("pin", "stranger", "-p", self.certs.pin("good"))

    def test_insecure_cannot_be_mixed_with_what_it_would_undo(self):
        for options in (["-c", self.certs.ca], ["-p", NOBODY]):
            done = self.tlsclient("stranger", "--insecure", *options)
            self.assertIn(done.returncode, (98, 100), f"{options}: {done.stderr}")
            self.assertEqual(done.stdout, "")


class ClientCertificates(Case):
    """A server demands certificates when `verify` says so, and fails closed too."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def serve(self, *lines, leaf=None, ca="ca.pem"):
        """Our server with the lines, against a client that shows `leaf`: the errno of `server`, and the connection."""
        ours, theirs = tcp_pair()

        def script(peer):
            peer.write(b"x")
            return peer.read_all()
        self.peer(theirs, client_context(self.certs, leaf=leaf), script, name=NAME)
        connection = self.tlsfs.connection()
        with ours:
            for name, file in (("cert", "good.pem"), ("key", "good.key"), ("ca", ca)):
                if file:
                    connection.put(name, self.certs.text(file))
            connection.say(f"fd {ours.fileno()}", *lines)
            try:
                connection.say("server")
            except OSError as error:
                return error.errno, connection
        return 0, connection

    def test_the_default_demands_none(self):
        for leaf in (None, "client"):
            code, connection = self.serve(ca=None, leaf=leaf)
            self.assertEqual(code, 0)
            self.assertEqual(connection.status()["Verify"], "none")

    def test_verify_ca_takes_its_own_and_refuses_others(self):
        code, connection = self.serve("verify ca", leaf="client")
        self.assertEqual(code, 0, connection.status())
        self.assertEqual(connection.status()["Verify"], "ok")
        self.assertIn("client", connection.status()["Peer"])
        self.assertEqual(connection.peer(), self.certs.text("client.pem").decode())
        for leaf, code in (("stranger", errno.EKEYREJECTED), ("expired", errno.EKEYEXPIRED), (None, errno.EKEYREJECTED)):
            with self.subTest(leaf):
                found, connection = self.serve("verify ca", leaf=leaf)
                self.assertEqual(errno.errorcode.get(found), errno.errorcode[code], connection.status())
                self.assertErrno(code, connection.data)

    def test_verify_pin_takes_the_pinned_client_only(self):
        line = f"verify pin {self.certs.pin('client', 'spki')}"
        code, connection = self.serve(line, leaf="client", ca=None)
        self.assertEqual((code, connection.status().get("Verify")), (0, "pin"))
        self.assertEqual(self.serve(line, leaf="good", ca=None)[0], errno.EKEYREJECTED)
        self.assertEqual(self.serve(line, leaf=None, ca=None)[0], errno.EKEYREJECTED)

    def test_our_client_shows_its_certificate(self):
        context = server_context(self.certs, client_ca=self.certs.ca)
        for shown in (True, False):
            ours, theirs = tcp_pair()
            peer = self.peer(theirs, context, lambda peer: (peer.write(b"x"), peer.tls.getpeercert()["subject"])[1])
            connection = self.tlsfs.connection()
            connection.put("ca", self.certs.text("ca.pem"))
            with ours:
                if shown:
                    connection.put("cert", self.certs.text("client.pem"))
                    connection.put("key", self.certs.text("client.key"))
                connection.say(f"fd {ours.fileno()}", "version 1.3", f"client {NAME}")
            if shown:
                self.assertEqual(os.read(connection.data(), 10), b"x")
                self.assertEqual(peer.result(), ((("commonName", "client"),),))
            else:
                # In TLS 1.3 the client is done before the server refuses it.
                self.assertErrno(errno.EPROTO, os.read, connection.data(), 10)
                self.assertRegex(connection.status()["Error"], "certificate[ _]required")


class Negotiation(Case):
    """ALPN, versions, suites and groups are what was asked for, in both roles."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def test_alpn_is_offered_by_a_client_and_chosen_in_order_by_a_server(self):
        context = server_context(self.certs, alpn=["h2", "http/1.1"])
        connection, _ = self.connect(self.tlsfs, lines=["alpn http/1.1 imap"], context=context)
        self.assertEqual(connection.status()["ALPN"], "http/1.1")
        connection, _ = self.connect(self.tlsfs, context=context)
        self.assertNotIn("ALPN", connection.status())
        context = client_context(self.certs, alpn=["http/1.1", "h2"])
        connection, _ = self.accept(self.tlsfs, lines=["alpn h2 http/1.1"], context=context)
        self.assertEqual(connection.status()["ALPN"], "h2", "our order counts")
        connection, _ = self.accept(self.tlsfs, lines=["alpn 'http/1.1'"], context=context)
        self.assertEqual(connection.status()["ALPN"], "http/1.1")

    def test_versions_are_kept_within_their_limits(self):
        for line, version in (("version 1.2 1.2", "TLSv1.2"), ("version 1.3 1.3", "TLSv1.3"), ("version 1.3", "TLSv1.3"),
                              ("version 1.2", "TLSv1.3"), ("version 1.2 1.3", "TLSv1.3")):
            connection, peer = self.connect(self.tlsfs, lambda peer: peer.tls.version(), lines=[line])
            self.assertEqual((connection.status()["Version"], peer.result()), (version, version), line)
            connection, peer = self.accept(self.tlsfs, lambda peer: peer.tls.version(), lines=[line])
            self.assertEqual((connection.status()["Version"], peer.result()), (version, version), line)

    def test_suites_and_groups_are_what_was_asked_for(self):
        connection, peer = self.connect(self.tlsfs, lambda peer: peer.tls.cipher()[0],
                                        lines=["ciphers TLS_CHACHA20_POLY1305_SHA256", "groups P-384", "version 1.3"])
        self.assertEqual(peer.result(), "TLS_CHACHA20_POLY1305_SHA256")
        status = connection.status()
        self.assertEqual(status["Cipher"], "TLS_CHACHA20_POLY1305_SHA256")
        self.assertRegex(status["Group"], "(?i)p-?384|secp384r1")
        connection, peer = self.connect(self.tlsfs, lambda peer: peer.tls.cipher()[0],
                                        lines=["ciphers ECDHE-ECDSA-AES128-GCM-SHA256", "version 1.2 1.2"])
        self.assertEqual(peer.result(), "ECDHE-ECDSA-AES128-GCM-SHA256")
        self.assertEqual(connection.status()["Cipher"], "ECDHE-ECDSA-AES128-GCM-SHA256")

    def test_two_ends_agree_on_a_post_quantum_group_where_openssl_has_one(self):
        """From OpenSSL 3.5 on it is among the defaults."""
        openssl = re.search(r"^user openssl (\d+)\.(\d+)", self.tlsfs.read("engines"), re.MULTILINE)
        post_quantum = tuple(map(int, openssl.groups())) >= (3, 5)
        ours, theirs = tcp_pair()
        server, client = self.tlsfs.connection(), self.tlsfs.connection()
        server.put("cert", self.certs.text("good.pem"))
        server.put("key", self.certs.text("good.key"))
        client.put("ca", self.certs.text("ca.pem"))
        with ours, theirs:
            accepting = self.background(server.say, f"fd {theirs.fileno()}", "server")
            client.say(f"fd {ours.fileno()}", f"client {NAME}")
            accepting.result()
        expected = "X25519MLKEM768" if post_quantum else "x25519"
        self.assertEqual({client.status()["Group"], server.status()["Group"]}, {expected})
        client_data, server_data = client.data(), server.data()
        os.write(client_data, b"agreed")
        self.assertEqual(os.read(server_data, 100), b"agreed")
        other = self.tlsfs.connection()
        if post_quantum:
            other.say("groups X25519MLKEM768")
        else:
            self.assertErrno(errno.EINVAL, other.say, "groups X25519MLKEM768")

    def test_an_engine_that_is_not_there_is_an_error_and_never_plaintext(self):
        if engine.name == "kernel":
            self.skipTest("this machine has both engines")
        connection = self.tlsfs.connection()
        ours, theirs = tcp_pair()
        with ours, theirs:
            connection.put("ca", self.certs.text("ca.pem"))
            with self.assertRaises(OSError):
                connection.say("timeout 5", "engine kernel", f"fd {ours.fileno()}", f"client {NAME}")
        self.assertIn("kernel", connection.status()["Error"])
        self.assertNotEqual(connection.status()["State"], "Established")
        user, _ = self.connect(self.tlsfs, lines=["engine user"])
        self.assertEqual(user.status()["Engine"], "user")

    def test_the_default_offers_only_aead_with_forward_secrecy(self):
        def accept(sock):
            hello = sock.recv(10000)
            sock.close()
            return hello
        ours, theirs = tcp_pair()
        peer = self.background(accept, theirs)
        connection = self.tlsfs.connection()
        with ours:
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(f"fd {ours.fileno()}")
            self.assertErrno(errno.ECONNRESET, connection.say, f"client {NAME}")
        hello = peer.result()
        # Record header, handshake header, version, random; then the session id and the suites.
        at = 5 + 4 + 2 + 32
        at += 1 + hello[at]
        count = int.from_bytes(hello[at:at + 2], "big")
        offered = {hello[i:i + 2].hex() for i in range(at + 2, at + 2 + count, 2)}
        good = {"1301", "1302", "1303", "c02b", "c02c", "c02f", "c030", "cca8", "cca9", "00ff", "5600",
                "009e", "009f", "ccaa"}
        self.assertTrue({"1301", "1302", "c02b"} <= offered, offered)
        self.assertEqual(offered - good, set())

    def test_status_tells_the_truth_about_both_ends(self):
        connection, _ = self.connect(self.tlsfs)
        status = connection.status()
        self.assertEqual(status["Role"], "client")
        self.assertEqual(status["Name"], NAME)
        self.assertEqual(status["Owner"], str(os.getuid()))
        self.assertRegex(status["Local"], r"127\.0\.0\.1")
        self.assertRegex(status["Remote"], r"127\.0\.0\.1")
        self.assertNotIn("Error", status)
        known = {"State", "Engine", "Role", "Version", "Cipher", "Group", "ALPN", "Name", "Verify", "Resumed", "Peer",
                 "PeerSHA256", "Local", "Remote", "Owner", "Error"}
        self.assertEqual(set(status) - known, set())
        stats = connection.stats()
        self.assertEqual(set(stats), {"DataIn", "DataOut", "WireIn", "WireOut", "RecordsIn", "RecordsOut",
                                      "HandshakeMicroseconds", "KeyUpdates"})
        self.assertGreater(stats["HandshakeMicroseconds"], 0)
        fresh = self.tlsfs.connection().status()
        self.assertEqual((fresh["State"], fresh["Owner"]), ("New", str(os.getuid())))
        server, _ = self.accept(self.tlsfs)
        self.assertEqual(server.status()["Role"], "server")
        self.assertEqual(server.status()["Name"], NAME, "the name that the client asked for")
