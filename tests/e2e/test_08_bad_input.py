# SPDX-License-Identifier: MIT
"""Point 8: whatever is wrong has its errno and a text that names the cause, and nothing else suffers from it."""

import errno
import os

from harness import Case
from harness.certs import NAME
from harness.peers import client_context, echo, server_context, silent, tcp_pair

MEGABYTE = 1 << 20

# What is written to ctl before the handshake: (bytes, errno, what the Error line must name).
BAD_LINES = {
    "an empty line": (b"\n", errno.EINVAL, "empty"),
    "blanks only": (b"  \t \n", errno.EINVAL, "empty"),
    "a line that is too long": (b"alpn " + b"x" * 4092 + b"\n", errno.EINVAL, "4096"),
    "a long line without end": (b"x" * 100_000, errno.EINVAL, "4096"),
    "a NUL byte": (b"timeout 5\0\n", errno.EINVAL, "NUL"),
    "a NUL byte first": (b"\0\n", errno.EINVAL, "NUL"),
    "an unknown verb": (b"frobnicate 3\n", errno.EINVAL, "frobnicate"),
    "a verb in capitals": (b"TIMEOUT 5\n", errno.EINVAL, "TIMEOUT"),
    "bytes that are no text": (b"\xff\xfe\x01\n", errno.EINVAL, "."),
    "an open quote": (b"alpn 'h2\n", errno.EINVAL, "quote"),
    "fd without a word": (b"fd\n", errno.EINVAL, "fd"),
    "fd with three words": (b"fd 1 2 3\n", errno.EINVAL, "fd"),
    "fd with a name": (b"fd stdin\n", errno.EINVAL, "stdin"),
    "fd below zero": (b"fd -1\n", errno.EINVAL, "-1"),
    "fd beyond all numbers": (b"fd 99999999999999999999\n", errno.EINVAL, "9999"),
    "fd in hexadecimal": (b"fd 0x3\n", errno.EINVAL, "0x3"),
    "dial without a word": (b"dial\n", errno.EINVAL, "dial"),
    "dial without a port": (b"dial localhost\n", errno.EINVAL, "localhost"),
    "dial with an empty port": (b"dial localhost:\n", errno.EINVAL, "localhost"),
    "dial with an empty host": (b"dial :443\n", errno.EINVAL, ":443"),
    "dial with a port too high": (b"dial 127.0.0.1:65536\n", errno.EINVAL, "65536"),
    "dial with a bare IPv6 address": (b"dial ::1:443\n", errno.EINVAL, "IPv6"),
    "dial with a path too long": (b"dial /" + b"x" * 200 + b"\n", (errno.EINVAL, errno.ENAMETOOLONG), "."),
    "version without a word": (b"version\n", errno.EINVAL, "version"),
    "a version too old": (b"version 1.1\n", errno.EINVAL, "1.1"),
    "a version yet to come": (b"version 1.2 1.4\n", errno.EINVAL, "1.4"),
    "versions in the wrong order": (b"version 1.3 1.2\n", errno.EINVAL, "version"),
    "no such cipher": (b"ciphers NONSENSE\n", errno.EINVAL, "NONSENSE|cipher"),
    "no such group": (b"groups NONSENSE\n", errno.EINVAL, "NONSENSE|group"),
    "alpn without a word": (b"alpn\n", errno.EINVAL, "alpn"),
    "alpn with an empty name": (b"alpn ''\n", errno.EINVAL, "ALPN|alpn"),
    "alpn with a name too long": (b"alpn " + b"x" * 256 + b"\n", errno.EINVAL, "255"),
    "verify without a word": (b"verify\n", errno.EINVAL, "verify"),
    "verify what": (b"verify maybe\n", errno.EINVAL, "maybe"),
    "verify none and more": (b"verify none ca\n", errno.EINVAL, "none"),
    "a pin without a hash": (b"verify pin\n", errno.EINVAL, "pin|hash"),
    "a pin of no kind": (b"verify pin " + b"00" * 32 + b"\n", errno.EINVAL, "sha256:"),
    "a pin too short": (b"verify pin sha256:abcd\n", errno.EINVAL, "64"),
    "a pin that is no number": (b"verify pin spki:" + b"zz" * 32 + b"\n", errno.EINVAL, "hexadecimal"),
    "a second pin that is bad": (b"verify pin sha256:" + b"00" * 32 + b" md5:00\n", errno.EINVAL, "md5"),
    "timeout without a word": (b"timeout\n", errno.EINVAL, "timeout"),
    "timeout zero": (b"timeout 0\n", errno.EINVAL, "timeout"),
    "timeout below zero": (b"timeout -5\n", errno.EINVAL, "-5"),
    "timeout that is no number": (b"timeout soon\n", errno.EINVAL, "soon"),
    "timeout out of range": (b"timeout 99999999999999999999\n", errno.EINVAL, "9999"),
    "session what": (b"session maybe\n", errno.EINVAL, "maybe"),
    "engine what": (b"engine steam\n", errno.EINVAL, "steam"),
    "client with two names": (b"client a b\n", errno.EINVAL, "client"),
    "client with an empty name": (b"client ''\n", errno.EINVAL, "name"),
    "client with a name too long": (b"client " + b"x" * 256 + b"\n", errno.EINVAL, "name"),
    "client without a transport": (b"client server.test\n", errno.ENOTCONN, "transport"),
    "server with a word": (b"server now\n", errno.EINVAL, "server"),
    "keyupdate too early": (b"keyupdate\n", errno.ENOTCONN, "."),
    "close too early": (b"close\n", errno.ENOTCONN, "."),
}

GOOD_LINES = (
    b"timeout 5", b"timeout 5\n", b"\ttimeout   5 \n", b"version '1.2'\n", b"version 1.2 1.3\nsession off\ntimeout 9\n",
    b"alpn 'with ''quotes'' and blanks'\n", b"alpn " + b" ".join([b"x" * 200] * 20) + b"\n", b"engine user\n",
    b"ciphers ECDHE-RSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256\n", b"groups X25519:P-256\n", b"verify none\n",
)


class Lines(Case):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def assertUsable(self, connection, *lines):
        """The connection must still make its handshake."""
        ours, theirs = tcp_pair()
        peer = self.peer(theirs, server_context(self.certs), echo)
        with ours:
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(f"fd {ours.fileno()}", *lines, f"client {NAME}")
        data = connection.data()
        os.write(data, b"alive")
        self.assertEqual(os.read(data, 100), b"alive")
        connection.close()
        self.assertEqual(peer.result(), 5)

    def test_every_bad_line_has_its_errno_and_its_cause_and_harms_nothing(self):
        neighbour, _ = self.connect(self.tlsfs)
        data = neighbour.data()
        for what, (line, code, cause) in BAD_LINES.items():
            with self.subTest(what):
                connection = self.tlsfs.connection()
                self.assertErrno(code, os.write, connection.ctl, line)
                error = connection.status()["Error"]
                self.assertRegex(error, cause)
                self.assertTrue(error.isprintable(), error)
                self.assertUsable(connection)
                os.write(data, b"neighbour")
                self.assertEqual(os.read(data, 100), b"neighbour")

    def test_the_good_lines_next_to_them_are_taken(self):
        for line in GOOD_LINES:
            with self.subTest(line[:40]):
                connection = self.tlsfs.connection()
                self.assertEqual(os.write(connection.ctl, line), len(line))
                self.assertNotIn("Error", connection.status())
        longest = b"alpn " + b"x" * 255 + b" "
        longest += b"y" * 255
        longest += b" " * (4096 - len(longest))
        connection = self.tlsfs.connection()
        self.assertEqual(os.write(connection.ctl, longest + b"\n"), 4097)
        self.assertErrno(errno.EINVAL, os.write, self.tlsfs.connection().ctl, longest + b" \n")

    def test_the_first_bad_line_ends_the_write_and_those_before_it_are_done(self):
        connection = self.tlsfs.connection()
        ours, theirs = tcp_pair()
        with ours, theirs:
            self.assertErrno(errno.EINVAL, connection.say, f"fd {ours.fileno()}", "version 1.9", "verify none")
            self.assertIn("1.9", connection.status()["Error"])
            # The transport was taken, and what stood behind the error was not done: the name is still wanted.
            self.assertErrno(errno.EBUSY, connection.say, f"fd {ours.fileno()}")
            peer = self.peer(theirs, server_context(self.certs, "stranger"), lambda peer: None)
            self.assertErrno(errno.EKEYREJECTED, connection.say, f"client {NAME}")
            with self.assertRaises(OSError):
                peer.result()

    def test_what_comes_too_late_is_ebusy(self):
        connection, _ = self.connect(self.tlsfs, silent)
        for line in ("fd 0", "dial localhost:1", "version 1.3", "ciphers TLS_AES_128_GCM_SHA256", "groups P-256", "alpn h2",
                     "verify none", "timeout 5", "session off", "engine user", f"client {NAME}", "server"):
            with self.subTest(line):
                self.assertErrno(errno.EBUSY, connection.say, line)
        for name in ("ca", "cert", "key"):
            with self.subTest(name):
                self.assertErrno(errno.EBUSY, connection.put, name, self.certs.text("ca.pem"))
        self.assertEqual(connection.status()["State"], "Established")

    def test_random_bytes_harm_nothing(self):
        connection = self.tlsfs.connection()
        for size in (1, 2, 17, 100, 4095, 4096, 4097, 65536, MEGABYTE):
            for _ in range(5):
                with self.assertRaises(OSError):
                    os.write(connection.ctl, b"?" + os.urandom(size))
        self.assertUsable(connection)

    def test_a_server_without_certificate_or_key_says_so(self):
        for missing in ("cert", "key"):
            ours, theirs = tcp_pair()
            with ours, theirs:
                connection = self.tlsfs.connection()
                for name, file in (("cert", "good.pem"), ("key", "good.key")):
                    if name != missing:
                        connection.put(name, self.certs.text(file))
                connection.say(f"fd {ours.fileno()}")
                with self.assertRaises(OSError):
                    connection.say("server")
                self.assertIn(missing, connection.status()["Error"])


class Pem(Case):
    """`ca`, `cert` and `key` take PEM and nothing else."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def begun(self, kind="CERTIFICATE"):
        return f"-----BEGIN {kind}-----\n".encode()

    def ended(self, kind="CERTIFICATE"):
        return f"\n-----END {kind}-----\n".encode()

    def test_each_bad_text_is_refused_and_the_good_one_then_taken(self):
        good = {"ca": self.certs.text("ca.pem"), "cert": self.certs.text("good.pem"), "key": self.certs.text("good.key")}
        garbage = {
            "no PEM": b"this is no PEM at all\n",
            "nothing but a blank": b" ",
            "bad base64": self.begun() + b"!!!!" + self.ended(),
            "no certificate": self.begun() + b"aGVsbG8gd29ybGQ=" + self.ended(),
            "cut in the middle": good["cert"][:300],
            "binary": os.urandom(500),
            "a good one and then garbage": good["cert"] + self.begun() + b"AAAA" + self.ended(),
        }
        for name in ("ca", "cert", "key"):
            for what, text in garbage.items():
                with self.subTest(f"{name}: {what}"):
                    connection = self.tlsfs.connection()
                    self.assertErrno(errno.EINVAL, connection.put, name, text)
                    self.assertRegex(connection.status()["Error"], rf"(?i){name}|PEM|certificate")
                    connection.put(name, good[name])

    def test_an_encrypted_key_is_refused_by_name(self):
        connection = self.tlsfs.connection()
        self.assertErrno(errno.EINVAL, connection.put, "key", self.certs.text("encrypted.key"))
        self.assertIn("encrypted", connection.status()["Error"])
        connection.put("key", self.certs.text("good.key"))

    def test_a_certificate_is_no_key_and_a_key_no_certificate(self):
        connection = self.tlsfs.connection()
        self.assertErrno(errno.EINVAL, connection.put, "key", self.certs.text("good.pem"))
        self.assertErrno(errno.EINVAL, connection.put, "cert", self.certs.text("good.key"))
        self.assertErrno(errno.EINVAL, connection.put, "ca", self.certs.text("good.key"))

    def test_a_key_that_does_not_fit_is_refused_in_either_order(self):
        """When the second of the two is written, or at the latest by `server`; one that fits may follow."""
        for leaf, key in (("good", "second"), ("good", "rsa"), ("rsa", "good")):
            for order in (("cert", "key"), ("key", "cert")):
                with self.subTest(f"{leaf}, {key}, {order[0]} first"):
                    connection = self.tlsfs.connection()
                    ours, theirs = tcp_pair()
                    peer = self.peer(theirs, client_context(self.certs), echo, name=NAME)
                    with ours:
                        connection.say(f"fd {ours.fileno()}")
                        self.assertErrno(errno.EINVAL, self.serve, connection, leaf, key, order)
                        self.assertRegex(connection.status()["Error"], "(?i)fit|match")
                        connection.put("key", self.certs.text(f"{leaf}.key"))
                        connection.put("cert", self.certs.text(f"{leaf}.pem"))
                        connection.say("server")
                    connection.close()
                    self.assertEqual(peer.result(), 0)

    def serve(self, connection, leaf, key, order):
        files = {"cert": f"{leaf}.pem", "key": f"{key}.key"}
        for name in order:
            connection.put(name, self.certs.text(files[name]))
        connection.say("server")

    def test_more_than_a_mebibyte_is_efbig(self):
        padding = b"# a comment that fills the file\n" * (MEGABYTE // 32)
        for name, file in (("ca", "ca.pem"), ("cert", "good.pem"), ("key", "good.key")):
            with self.subTest(name):
                connection = self.tlsfs.connection()
                self.assertErrno(errno.EFBIG, connection.put, name, padding + self.certs.text(file))
                self.assertIn("Error", connection.status())
                connection.put(name, self.certs.text(file))

    def test_a_whole_systems_roots_are_not_too_many(self):
        connection = self.tlsfs.connection()
        connection.put("ca", self.certs.text("ca.pem") * 300)

    def test_a_handshake_after_bad_pem_fails_until_good_pem_came(self):
        connection = self.tlsfs.connection()
        self.assertErrno(errno.EINVAL, connection.put, "ca", b"garbage\n")
        ours, theirs = tcp_pair()
        peer = self.peer(theirs, server_context(self.certs), echo)
        with ours:
            connection.say(f"fd {ours.fileno()}")
            self.assertErrno(errno.EINVAL, connection.say, f"client {NAME}")
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(f"client {NAME}")
        connection.close()
        self.assertEqual(peer.result(), 0)

    def test_pieces_and_appending_make_one_text(self):
        connection = self.tlsfs.connection()
        text = self.certs.text("good.pem")
        descriptor = os.open(connection.dir / "cert", os.O_WRONLY | os.O_TRUNC)
        for start in range(0, len(text), 97):
            os.write(descriptor, text[start:start + 97])
        os.close(descriptor)
        connection.put("key", self.certs.text("good.key"))
        script = f"cat {self.certs('strangers-ca.pem')} >{connection.dir}/ca; cat {self.certs.ca} >>{connection.dir}/ca"
        self.assertRan(self.shell("dash", script))
        ours, theirs = tcp_pair()
        peer = self.peer(theirs, server_context(self.certs), echo)
        with ours:
            connection.say(f"fd {ours.fileno()}", f"client {NAME}")
        connection.close()
        self.assertEqual(peer.result(), 0)

    def test_writing_again_replaces_what_was_there(self):
        connection = self.tlsfs.connection()
        connection.put("ca", self.certs.text("ca.pem"))
        connection.put("ca", self.certs.text("strangers-ca.pem"))
        ours, theirs = tcp_pair()
        self.peer(theirs, server_context(self.certs), echo)
        with ours:
            connection.say(f"fd {ours.fileno()}")
            self.assertErrno(errno.EKEYREJECTED, connection.say, f"client {NAME}")
