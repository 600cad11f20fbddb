# SPDX-License-Identifier: MIT
"""Point 14: tlsfs.conf is the administrator's policy. No program can weaken it, what is wrong is refused with its line,
SIGHUP reads it anew; and what fails stands in the log, in one line that nobody can forge."""

import errno
import os
import shutil
import signal
import socket
import subprocess

from harness import Case, needs_root, program
from harness.certs import NAME
from harness.peers import TLS12, echo, server_context, tcp_pair
from harness.wait import until

WRONG = {
    "an unknown key": ("minimum-verison 1.3", "unknown key 'minimum-verison'"),
    "a key without a value": ("ciphers", "ciphers has no value"),
    "a key with two": ("trust-file /a /b", "trust-file takes one value"),
    "a version that is none": ("minimum-version 1.1", "'1.1' is neither 1.2 nor 1.3"),
    "a suite that nobody knows": ("ciphers TLS_NONSENSE", "'TLS_NONSENSE' is not known"),
    "no suite of an allowed version": ("ciphers ECDHE+AESGCM\nminimum-version 1.3", "none of them is of an allowed version"),
    "a policy that is none": ("client-verify always", "'always' is none of system, ca, pin, none"),
    "a trust store that is not there": ("trust-file /nowhere/ca.pem", "No such file"),
    "a trust store that is none": ("trust-file /etc/passwd", "/etc/passwd"),
    "a trust directory that is not there": ("trust-directory /nowhere", "No such file"),
    "a trust directory without hashes": ("trust-directory /usr/bin", "openssl rehash"),
    "a relative path": ("trust-file ca.pem", "does not begin with /"),
    "a number out of range": ("max-per-user 0", "'0' is not a number"),
    "a level that is none": ("log-level loud", "'loud' is none of"),
    "dialling half": ("dial sometimes", "'sometimes' is neither on nor off"),
    "an open quote": ("trust-file '/etc", "quote"),
    "an escape sequence": ("\x1b[31m 1", "control character"),
}


class Configured(Case):
    """What the tests below share: a mount with a configuration of its own."""

    def write(self, *lines, mode=0o644):
        self.config = self.dir / "tlsfs.conf"
        # As an editor does it: the file is never half there.
        fresh = self.dir / "tlsfs.conf.new"
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.chmod(mode)
        os.rename(fresh, self.config)
        return self.config

    def configured(self, *lines, options=(), **more):
        return self.mount("--config", self.write(*lines), *options, **more)

    def refusal(self, *options):
        """What tlsfs says when it does not start, and its exit code."""
        place = self.dir / "refused"
        place.mkdir(exist_ok=True)
        done = self.run_program([program("tlsfs"), "-f", *options, place])
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done.returncode, done.stderr

    def assertForbidden(self, connection, line, what):
        self.assertErrno(errno.EACCES, connection.say, line)
        self.assertRegex(connection.status()["Error"], f"{what}.*administrator's policy")

    def start(self, mount, *lines, leaf="good", name=NAME, ca=None, context=None):
        """A client's handshake: (connection, errno or None)."""
        ours, theirs = tcp_pair()
        self.peer(theirs, context or server_context(self.certs, leaf), lambda peer: peer.read_all())
        connection = mount.connection()
        with ours:
            if ca:
                connection.put("ca", self.certs.text(ca))
            connection.say(f"fd {ours.fileno()}", *lines)
            try:
                connection.say(f"client {name}")
            except OSError as error:
                return connection, error.errno
        self.assertEngine(connection)
        return connection, None


class Policy(Configured):
    def test_a_program_can_raise_the_version_but_not_lower_it(self):
        mount = self.configured("minimum-version 1.3")
        self.assertForbidden(mount.connection(), "version 1.2", "version")
        self.assertForbidden(mount.connection(), "version 1.2 1.3", "version")
        connection, _ = self.start(mount, "version 1.3", ca="ca.pem")
        self.assertEqual(connection.status()["Version"], "TLSv1.3")
        _, failed = self.start(mount, ca="ca.pem", context=server_context(self.certs, version=TLS12))
        self.assertEqual(failed, errno.EPROTO, "the peer has only 1.2, and nothing was said")
        raised, _ = self.start(self.configured("minimum-version 1.2"), "version 1.3", ca="ca.pem")
        self.assertEqual(raised.status()["Version"], "TLSv1.3")

    def test_the_suites_are_used_and_no_others_can_be_asked_for(self):
        mount = self.configured("ciphers TLS_AES_128_GCM_SHA256:ECDHE+CHACHA20")
        self.assertEqual(mount.read("ciphers").splitlines()[0], "TLS_AES_128_GCM_SHA256")
        self.assertNotIn("AES256", mount.read("ciphers"))
        connection, _ = self.start(mount, ca="ca.pem")
        self.assertEqual(connection.status()["Cipher"], "TLS_AES_128_GCM_SHA256")
        for forbidden in ("TLS_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "HIGH", "ALL"):
            self.assertForbidden(mount.connection(), f"ciphers {forbidden}", "ciphers")
        connection, _ = self.start(mount, "ciphers ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305", ca="ca.pem")
        self.assertRegex(connection.status()["Cipher"], "CHACHA20")
        server, _ = self.accept(mount, lines=["timeout 20"])
        self.assertEqual(server.status()["Cipher"], "TLS_AES_128_GCM_SHA256")

    def test_verification_cannot_be_switched_off_where_it_is_not_allowed(self):
        mount = self.configured("client-verify system ca", f"trust-file {self.certs.ca}")
        for lines in (["verify none"], [f"verify pin {self.certs.pin('good')}"]):
            connection, failed = self.start(mount, *lines)
            self.assertEqual(failed, errno.EACCES)
            self.assertRegex(connection.status()["Error"], "client: verify (none|pin): the administrator's policy")
            self.assertEqual(connection.status()["State"], "New")
        _, failed = self.start(mount, ca="strangers-ca.pem", leaf="stranger")
        self.assertIsNone(failed)
        only = self.configured("client-verify system", f"trust-file {self.certs.ca}")
        _, failed = self.start(only, ca="strangers-ca.pem", leaf="stranger")
        self.assertEqual(failed, errno.EACCES, "a ca of one's own is trust of one's own")
        self.assertIsNone(self.start(only)[1])
        self.assertEqual(self.start(only, leaf="stranger")[1], errno.EKEYREJECTED)

    def test_a_server_may_serve_anybody_all_the_same(self):
        mount = self.configured("client-verify system")
        server, _ = self.accept(mount)
        self.assertEqual(server.status()["Verify"], "none")

    def test_a_program_of_ours_says_what_is_forbidden(self):
        mount = self.configured("client-verify system ca")
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            done = self.run_program([program("tlsclient"), "--insecure", f"localhost:{listener.getsockname()[1]}"],
                                    environment={"TLSFS": str(mount.path)})
        self.assertEqual(done.returncode, 111)
        self.assertIn("verify none: the administrator's policy forbids it", done.stderr)

    def test_a_trust_file_is_what_system_means(self):
        mount = self.configured(f"trust-file {self.certs.ca}")
        self.assertIsNone(self.start(mount, "verify system")[1])
        self.assertEqual(self.start(mount, leaf="stranger")[1], errno.EKEYREJECTED)

    def test_a_trust_directory_is_what_system_means(self):
        store = self.dir / "store"
        store.mkdir()
        shutil.copy(self.certs.ca, store / "ca.pem")
        subprocess.run(["openssl", "rehash", str(store)], check=True, capture_output=True)
        mount = self.configured(f"trust-directory {store}")
        self.assertIsNone(self.start(mount)[1])
        self.assertEqual(self.start(mount, leaf="stranger")[1], errno.EKEYREJECTED)

    def test_revocation_lists_hold_for_the_whole_chain(self):
        lists = self.dir / "lists.pem"
        both = self.certs.text("ca.crl") + self.certs.text("intermediate.crl")
        lists.write_bytes(both)
        mount = self.configured(f"trust-file {self.certs.ca}", f"crl {lists}")
        self.assertIsNone(self.start(mount)[1])
        connection, failed = self.start(mount, leaf="revoked")
        self.assertEqual(failed, errno.EKEYREVOKED, connection.status())
        # A new file counts at once. The intermediate's issuer has no list any more.
        fresh = self.dir / "fresh.pem"
        fresh.write_bytes(self.certs.text("intermediate.crl"))
        os.rename(fresh, lists)
        connection, failed = self.start(mount)
        self.assertEqual(failed, errno.EKEYREJECTED, connection.status())
        self.assertIn("CRL", connection.status()["Error"])
        self.assertIsNone(self.start(mount, ca="ca.pem", leaf="revoked")[1], "a ca of one's own has lists of its own")

    def test_lists_that_are_none_are_refused_at_start(self):
        code, said = self.refusal("--config", self.write(f"crl {self.certs.ca}"))
        self.assertEqual(code, 100, said)
        self.assertTrue(said.startswith(f"tlsfs: {self.config}:1: "), said)

    def test_dialling_can_be_forbidden_and_the_commands_dial_by_themselves(self):
        mount = self.configured("dial off")
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(5)
            port = listener.getsockname()[1]
            self.assertForbidden(mount.connection(), f"dial localhost:{port}", "dial")
            self.assertForbidden(mount.connection(), "dial /run/socket", "dial")

            def serve():
                theirs, _ = listener.accept()
                return self.peer(theirs, server_context(self.certs), echo).result()
            served = self.background(serve)
            done = self.run_program([program("tlsclient"), "--ca-file", self.certs.ca, f"localhost:{port}"], input="hi",
                                    environment={"TLSFS": str(mount.path)})
        self.assertEqual((done.returncode, done.stdout), (0, "hi"), done.stderr)
        self.assertEqual(served.result(), 2)
        self.configured("dial on").connection()

    def test_limits_hold_over_the_options(self):
        mount = self.configured("max-per-user 3", "max-connections 100", options=["--max-per-user", "1000"])
        for _ in range(3):
            mount.connection()
        self.assertErrno(errno.EMFILE, mount.connection)
        tighter = self.configured("max-per-user 100", options=["--max-per-user", "1"])
        tighter.connection()
        self.assertErrno(errno.EMFILE, tighter.connection)

    def test_a_timeout_has_a_bound(self):
        mount = self.configured("max-timeout 1")
        self.assertForbidden(mount.connection(), "timeout 2", "timeout 2")
        ours, theirs = tcp_pair()
        connection = mount.connection()
        with ours, theirs:
            connection.say(f"fd {ours.fileno()}")
            self.assertErrno(errno.ETIMEDOUT, connection.say, f"client {NAME}")

    def test_idle_exit_can_be_said_in_the_file(self):
        mount = self.configured("idle-exit 1")
        self.assertEqual(mount.process.wait(), 0)
        mount.ended = True

    def test_a_private_mount_has_a_policy_too(self):
        user, _ = self.users()
        mount = self.configured("minimum-version 1.3", user=user)
        script = 'exec 4<>"$0"/clone; read -r n <&4; echo "version 1.2" >&4 || cat "$0"/$n/status'
        done = self.run_program(["bash", "-c", script, mount.path], user=user)
        self.assertIn("Error: version 1.2: the administrator's policy forbids it", done.stdout, done.stderr)


class Wrong(Configured):
    def test_what_is_wrong_is_refused_with_file_line_and_reason(self):
        for what, (text, reason) in WRONG.items():
            with self.subTest(what):
                file = self.write("# the third line is wrong", "", *text.split("\n"))
                code, said = self.refusal("--config", file)
                self.assertEqual(code, 100, said)
                self.assertTrue(said.startswith(f"tlsfs: {file}:3: "), said)
                self.assertIn(reason, said)
                self.assertTrue(said.rstrip("\n").isprintable(), said)

    def test_a_key_stands_once(self):
        code, said = self.refusal("--config", self.write("idle-exit 1", "idle-exit 2"))
        self.assertEqual((code, said), (100, f"tlsfs: {self.config}:2: idle-exit is set in line 1 already\n"))

    def test_a_file_that_is_not_there_is_no_empty_file(self):
        code, said = self.refusal("--config", self.dir / "nothing")
        self.assertEqual(code, 111)
        self.assertIn("nothing: No such file or directory", said)
        self.assertEqual(self.refusal("--config", self.dir)[0], 100)
        os.mkfifo(self.dir / "fifo")
        self.assertEqual(self.refusal("--config", self.dir / "fifo")[0], 100)
        self.assertEqual(self.refusal("--config", "/dev/zero")[0], 100)

    def test_an_option_does_not_replace_what_the_file_trusts(self):
        self.write(f"trust-file {self.certs.ca}")
        code, said = self.refusal("--config", self.config, "--ca-file", self.certs("strangers-ca.pem"))
        self.assertEqual(code, 100)
        self.assertIn(f"--ca-file: {self.config}:1", said)

    @needs_root
    def test_a_system_mounts_policy_is_written_by_root_alone(self):
        user, _ = self.users()
        file = self.write("minimum-version 1.3", mode=0o666)
        code, said = self.refusal("--config", file)
        self.assertEqual((code, said), (100, f"tlsfs: {file}: others than root can write to it\n"))
        file = self.write("minimum-version 1.3")
        user.own(file)
        self.assertEqual(self.refusal("--config", file)[0], 100)
        self.assertEqual(self.mount("--config", "/dev/null").numbers(), [])

    def test_in_the_background_too(self):
        self.write("nonsense 1")
        place = self.dir / "background"
        place.mkdir()
        done = self.run_program([program("tlsfs"), "--config", self.config, place])
        self.assertEqual((done.returncode, done.stderr), (100, f"tlsfs: {self.config}:1: unknown key 'nonsense'\n"))


class Reload(Configured):
    def reload(self, mount, said):
        """SIGHUP, and wait until the log says what came of it."""
        before = mount.process.output().count("\n")
        mount.signal(signal.SIGHUP)
        until(lambda: any(said in line for line in mount.process.output().splitlines()[before:]), said)

    def test_new_connections_get_the_new_policy_and_old_ones_stay(self):
        mount = self.configured("log-level info")
        old, _ = self.connect(mount, echo, lines=["version 1.2 1.2"])
        data = old.data()
        begun = mount.connection()
        self.write("log-level info", "minimum-version 1.3", f"trust-file {self.certs.ca}", "max-per-user 3")
        self.reload(mount, "are read anew")
        begun.say("version 1.2")
        begun.close()
        self.assertForbidden(mount.connection(), "version 1.2", "version")
        os.write(data, b"still here")
        self.assertEqual(os.read(data, 100), b"still here")
        self.assertIsNone(self.start(mount)[1], "the new trust store")
        self.assertErrno(errno.EMFILE, mount.connection)

    def test_a_bad_file_changes_nothing_and_is_said(self):
        mount = self.configured("minimum-version 1.3")
        for lines, reason in ((["# oops", "minimum-version 1"], ":2: minimum-version"),
                              (["trust-file /nowhere"], ":1: /nowhere")):
            self.write(*lines)
            self.reload(mount, f"{self.config}{reason}")
            self.assertIn("what was said before still holds", mount.process.output())
            self.assertForbidden(mount.connection(), "version 1.2", "version")
        self.config.unlink()
        self.reload(mount, "tlsfs.conf: No such file")
        self.assertForbidden(mount.connection(), "version 1.2", "version")
        self.write("log-level info")
        self.reload(mount, "are read anew")
        mount.connection().say("version 1.2")

    def test_idle_exit_can_change(self):
        mount = self.configured("log-level info")
        self.write("idle-exit 1")
        mount.signal(signal.SIGHUP)
        self.assertEqual(mount.process.wait(), 0)
        mount.ended = True

    def test_a_service_manager_is_told(self):
        address = self.dir / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(address))
            manager.settimeout(30)
            mount = self.configured(environment={"NOTIFY_SOCKET": str(address)})
            self.assertEqual(manager.recv(1000), b"READY=1")
            for lines in ([], ["wrong"]):
                self.write(*lines)
                mount.signal(signal.SIGHUP)
                self.assertRegex(manager.recv(1000), rb"^RELOADING=1\nMONOTONIC_USEC=[0-9]+$")
                self.assertEqual(manager.recv(1000), b"READY=1")


class Log(Configured):
    def lines(self, mount):
        return mount.process.output().splitlines()

    def test_a_failed_connection_is_one_line_and_a_good_one_none(self):
        mount = self.mount()
        good, _ = self.connect(mount)
        good.close()
        _, failed = self.start(mount, ca="strangers-ca.pem")
        self.assertEqual(failed, errno.EKEYREJECTED)
        (line,) = self.lines(mount)
        self.assertRegex(line, rf"^tlsfs: connection [0-9]+ of user {os.geteuid()}, {NAME} at 127\.0\.0\.1:[0-9]+: .*issuer")

    def test_a_dial_that_fails_is_said(self):
        mount = self.mount()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            self.assertErrno(errno.ECONNREFUSED, mount.connection().say, f"dial 127.0.0.1:{port}")
        (line,) = self.lines(mount)
        self.assertRegex(line, f"dial 127.0.0.1:{port}: Connection refused$")

    def test_a_stream_that_is_cut_short_is_said(self):
        mount = self.mount()
        connection, peer = self.connect(mount, lambda peer: None)
        peer.result()
        data = connection.data()
        self.assertErrno(errno.ECONNRESET, os.read, data, 1)
        connection.close()
        until(lambda: self.lines(mount), "a line in the log")
        (line,) = self.lines(mount)
        self.assertRegex(line, "without close_notify$")

    def test_debugging_shows_verbs_and_states_and_no_secret(self):
        mount = self.mount("--log-level", "debug")
        server, _ = self.accept(mount, lines=["alpn sesame"])
        data = server.data()
        os.write(data, b"open sesame")
        self.assertEqual(os.read(data, 100), b"open sesame")
        key = self.certs.text("good.key").decode().splitlines()[1:-1]
        leaking = mount.connection()
        for part in key:
            self.assertErrno(errno.EINVAL, leaking.say, part)
        server.close()
        leaking.close()
        mount.wait_until_empty()
        log = mount.process.output()
        for expected in (": fd", ": alpn", ": server", "New -> Handshaking", "Handshaking -> Established"):
            self.assertRegex(log, f"(?m){expected}$")
        for secret in ("sesame", "BEGIN", *key):
            self.assertNotIn(secret, log)

    def test_what_a_stranger_chose_stays_on_its_line(self):
        mount = self.mount("--log-level", "info")
        connection = mount.connection()
        ours, theirs = tcp_pair()
        hostile = "x\x1b[31m\rtlsfs: all is well\x07"
        with ours, theirs:
            theirs.close()
            connection.say(f"fd {ours.fileno()}")
            with self.assertRaises(OSError):
                connection.say(f"client '{hostile}'")
        self.assertGreater(len(self.lines(mount)), 0)
        for line in self.lines(mount):
            self.assertTrue(line.isprintable() and line.startswith("tlsfs: connection "), repr(line))

    def test_nobody_can_flood_it(self):
        mount = self.configured("minimum-version 1.3")
        connection = mount.connection()
        for _ in range(2000):
            self.assertErrno(errno.EACCES, connection.say, "version 1.2")
        self.assertLess(len(self.lines(mount)), 400)
        self.assertRegex(mount.process.output(), "^tlsfs: connection [0-9]+ of user")

    def test_a_reader_that_does_not_read_holds_nothing_up(self):
        read, write = os.pipe()
        os.set_blocking(write, False)
        try:
            while True:
                os.write(write, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(write, True)
        place = self.dir / "stuck"
        place.mkdir()
        process = self.spawn([program("tlsfs"), "-f", "--log-level", "debug", place], stderr=write)
        os.close(write)
        until(lambda: (place / "clone").exists(), "the mount")
        descriptor = os.open(place / "clone", os.O_RDWR)
        self.assertErrno(errno.EINVAL, os.write, descriptor, b"nonsense\n")
        os.write(descriptor, b"verify none\n")
        os.close(descriptor)
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 0)
        os.close(read)

    def test_the_journal_gets_priorities(self):
        log = self.dir / "journal"
        with open(log, "wb") as stream:
            info = os.fstat(stream.fileno())
            place = self.dir / "journalled"
            place.mkdir()
            process = self.spawn([program("tlsfs"), "-f", place], stderr=stream,
                                 environment={"JOURNAL_STREAM": f"{info.st_dev}:{info.st_ino}"})
        until(lambda: (place / "clone").exists(), "the mount")
        descriptor = os.open(place / "clone", os.O_RDWR)
        self.assertErrno((errno.EHOSTUNREACH, errno.ECONNREFUSED), os.write, descriptor, b"dial 127.0.0.1:1\n")
        os.close(descriptor)
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 0)
        self.assertRegex(log.read_text(), "^<4>connection [0-9]+ of user [0-9]+, 127.0.0.1: dial ")

    def test_a_level_that_is_none_is_wrong_usage(self):
        code, said = self.refusal("--log-level", "loud")
        self.assertEqual(code, 100, said)
