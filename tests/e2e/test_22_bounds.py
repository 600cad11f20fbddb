# SPDX-License-Identifier: MIT
"""Point 22: what one program, or one peer, may ask for has bounds, and each is a clear refusal."""

import base64
import errno
import os
import subprocess

from harness import Case, needs_rekey
from harness.certs import NAME
from harness.config import program
from harness.peers import client_context, tcp_pair
from harness.servers import free_port, listens, s_server
from harness.wait import until

# As tls(4) says them.
LINES, LIST, CHAIN, AUTHORITIES, IN_A_ROW = 64, 128, 32, 512, 32


def tagged(tag, content):
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def rsa_key(bits):
    """The shape of an RSA key: a real one of 24,576 bits takes minutes to make."""
    def number(value):
        return tagged(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))
    modulus = (1 << (bits - 1)) | 0x5555
    values = (0, modulus, 3, modulus - 2, 3, 3, 3, 3, 3)
    body = base64.encodebytes(tagged(0x30, b"".join(map(number, values))))
    return b"-----BEGIN RSA PRIVATE KEY-----\n" + body + b"-----END RSA PRIVATE KEY-----\n"


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


class Bounds(Case):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def assertRefused(self, name, text, why):
        connection = self.tlsfs.connection()
        self.assertErrno(errno.EINVAL, connection.put, name, text)
        self.assertIn(why, connection.status()["Error"])
        return connection

    def test_an_rsa_key_is_neither_short_nor_endless(self):
        for bits in (2048, 8192):
            self.tlsfs.connection().put("key", rsa_key(bits))
        for bits in (1024, 2047, 8193, 24576):
            self.assertRefused("key", rsa_key(bits), f"{bits} bits")

    def test_after_a_refused_key_a_good_one_serves(self):
        connection = self.assertRefused("key", rsa_key(24576), "24576 bits")
        ours, theirs = tcp_pair()
        with ours, theirs:
            connection.put("cert", self.certs.text("good.pem"))
            connection.say(f"fd {ours.fileno()}")
            self.assertErrno(errno.EINVAL, connection.say, "server")
            connection.put("key", self.certs.text("good.key"))
            self.peer(theirs.dup(), client_context(self.certs), lambda peer: None, name=NAME)
            connection.say("server")

    def test_a_curve_has_a_name(self):
        named = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        self.tlsfs.connection().put("key", named)
        own = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt",
                      "ec_param_enc:explicit")
        self.assertRefused("key", own, "curve")

    def test_a_key_is_no_name_of_a_key(self):
        for kind in ("PKCS#11 PROVIDER URI", "TSS2 PRIVATE KEY", "ANY PRIVATE KEY"):
            body = base64.encodebytes(b"pkcs11:object=key").decode()
            self.assertRefused("key", f"-----BEGIN {kind}-----\n{body}-----END {kind}-----\n".encode(), "key")

    def test_the_lines_of_a_write(self):
        connection = self.tlsfs.connection()
        connection.say(*["groups X25519"] * LINES)
        self.assertErrno(errno.EINVAL, connection.say, *["groups X25519"] * LINES, "hangup")
        self.assertEqual(connection.status()["Error"], f"a write has at most {LINES} lines")
        self.assertEqual(connection.status()["State"], "New", "nothing of it was done")

    def test_the_names_in_a_list(self):
        connection = self.tlsfs.connection()
        connection.say(f"ciphers {':'.join(['TLS_AES_128_GCM_SHA256'] * LIST)}")
        for verb, name in (("ciphers", "TLS_AES_128_GCM_SHA256"), ("groups", "X25519")):
            self.assertErrno(errno.EINVAL, connection.say, f"{verb} {':'.join([name] * (LIST + 1))}")
            self.assertIn(str(LIST), connection.status()["Error"])

    def test_the_certificates_in_a_file(self):
        for name, most in (("cert", CHAIN), ("ca", AUTHORITIES)):
            one = self.certs.text("ca.pem")
            self.tlsfs.connection().put(name, one * most)
            self.assertRefused(name, one * (most + 1), str(most))

    @needs_rekey
    def test_key_updates_in_a_row(self):
        """OpenSSL's own server sends them; data between them starts the count anew."""
        server = s_server(self, "-tls1_3", "-num_tickets", "0")
        connection = self.tlsfs.connection()
        connection.put("ca", self.certs.text("ca.pem"))
        connection.say(f"dial 127.0.0.1:{server.port}", f"client {NAME}")
        data = connection.data(os.O_NONBLOCK)

        def say(text):
            server.stdin.write(text)
            server.stdin.flush()

        def update(count):
            for _ in range(count):
                before = int(connection.stats()["KeyUpdates"])
                say(b"k\n")
                until(lambda: int(connection.stats()["KeyUpdates"]) > before, "a KeyUpdate has come")

        def hear():
            say(b"data\n")
            until(lambda: not self.refuses(os.read, data, 100), "data has come")
        update(IN_A_ROW)
        hear()
        update(IN_A_ROW)
        self.assertErrno(errno.EAGAIN, os.read, data, 100)
        update(1)
        until(lambda: connection.status()["State"] == "Error", "that was too many")
        self.assertErrno(errno.EPROTO, os.read, data, 100)
        self.assertIn("in a row", connection.status()["Error"])


class Resumption(Case):
    def test_a_client_of_tls_1_2_without_tickets_resumes(self):
        tlsfs = self.mount()
        port = free_port()
        self.spawn([program("tlssrv"), "-c", self.certs("good.pem"), "-k", self.certs("good.key"), "-l",
                    f"127.0.0.1:{port}", "echo", "hello"], environment={"TLSFS": str(tlsfs.path)})
        until(lambda: listens(port), "tlssrv on its port")
        kept = self.dir / "session"

        def connect(*options):
            done = self.run_program(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", self.certs.ca,
                                     "-servername", NAME, "-tls1_2", "-no_ticket", "-ign_eof", *options])
            self.assertIn("hello", done.stdout, done.stderr)
            return done.stdout
        self.assertIn("New, TLSv1.2", connect("-sess_out", kept))
        for _ in range(3):
            self.assertIn("Reused, TLSv1.2", connect("-sess_in", kept))
