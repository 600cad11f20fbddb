# SPDX-License-Identifier: MIT
"""Point 1: shells get TLS out of echo and cat, with nothing but their redirections."""

import contextlib
import errno
import os
import stat
import subprocess

from harness import Case
from harness.certs import NAME
from harness.servers import nginx, s_server
from harness.wait import until

PAGE = "a page over TLS\n"

BASH_ALONE = """
    exec 3<>/dev/tcp/127.0.0.1/$PORT
    exec 4<>$TLSFS/clone
    read -r n <&4
    cat "$CA" >$TLSFS/$n/ca
    echo "fd 3" >&4
    echo "client $NAME" >&4
    exec 3>&-
    exec 5<>$TLSFS/$n/data
    printf 'GET /page HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n' $NAME >&5
    cat <&5
"""

WITH_DIAL = """
    exec 4<>$TLSFS/clone
    read -r n <&4
    cat "$CA" >$TLSFS/$n/ca
    echo "dial localhost:$PORT" >&4
    echo "client" >&4
    exec 5<>$TLSFS/$n/data
    printf 'GET /page HTTP/1.0\\r\\n\\r\\n' >&5
    cat <&5
"""

ONE_PRINTF = """
    exec 4<>$TLSFS/clone
    read -r n <&4
    cat "$CA" >$TLSFS/$n/ca
    printf 'version 1.3\\ndial 127.0.0.1:%s\\nclient %s' $PORT $NAME >&4
    exec 5<>$TLSFS/$n/data
    printf 'GET /page HTTP/1.0\\r\\n\\r\\n' >&5
    cat <&5
"""

SERVER = """
    exec 4<>$TLSFS/clone
    read -r n <&4
    cat "$CERTS/good.pem" >$TLSFS/$n/cert
    cat "$CERTS/good.key" >$TLSFS/$n/key
    printf 'fd 0\\nserver\\n' >&4
    exec 5<>$TLSFS/$n/data
    read -r line <&5
    echo "you said $line" >&5
"""


class Shells(Case):
    def page_server(self):
        (self.dir / "page").write_text(PAGE)
        return {"PORT": str(nginx(self, self.dir).port), "NAME": NAME}

    def fetch(self, which, script):
        done = self.shell(which, script, mount=self.mount(), environment=self.page_server())
        self.assertRan(done)
        self.assertIn("200 OK", done.stdout)
        self.assertTrue(done.stdout.endswith(PAGE), done.stdout)

    def test_bash_alone_fetches_a_page(self):
        self.fetch("bash", BASH_ALONE)

    def test_bash_fetches_a_page_with_dial(self):
        self.fetch("bash", WITH_DIAL)

    def test_dash_fetches_a_page_with_dial(self):
        self.fetch("dash", WITH_DIAL)

    def test_busybox_fetches_a_page_with_dial(self):
        self.fetch("busybox", WITH_DIAL)

    def test_one_printf_says_several_lines_and_the_last_needs_no_newline(self):
        for which in ("bash", "dash", "busybox"):
            with self.subTest(which):
                self.fetch(which, ONE_PRINTF)

    def test_a_failed_line_is_a_failed_echo_and_the_shell_says_why(self):
        server = s_server(self, leaf="stranger")
        for which in ("bash", "dash", "busybox"):
            with self.subTest(which):
                mount = self.mount()
                environment = {"PORT": str(server.port)}
                script = """
                    exec 4<>$TLSFS/clone; read -r n <&4; cat "$CA" >$TLSFS/$n/ca
                    echo "dial localhost:$PORT" >&4
                    if echo client >&4; then echo accepted; else echo refused; fi
                    grep Error $TLSFS/$n/status
                """
                done = self.shell(which, script, mount=mount, environment=environment)
                self.assertRan(done)
                self.assertEqual(done.stdout.splitlines()[0], "refused")
                self.assertRegex(done.stdout, r"Error: .*(issuer|self-signed|certificate)")
                # dash's echo calls every failure an I/O error.
                self.assertIn("I/O error" if which == "dash" else "Key was rejected by service", done.stderr)

    def test_a_script_is_a_tls_server(self):
        mount = self.mount()
        script = self.dir / "server.sh"
        script.write_text(SERVER)
        socket = self.dir / "socket"
        self.spawn(["socat", f"UNIX-LISTEN:{socket},fork", f"EXEC:dash -eu {script},nofork"],
                   environment={"TLSFS": str(mount.path), "CERTS": str(self.certs.dir)})
        until(socket.exists, "socat's socket")
        done = self.run_program(
            ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", self.certs.ca, "-verify_hostname",
             NAME, "-unix", socket], input="hello\n")
        self.assertIn("you said hello", done.stdout, done.stderr)

    def test_the_connection_lives_as_long_as_the_shell_holds_it(self):
        script = """
            exec 4<>$TLSFS/clone; read -r n <&4; cat "$CA" >$TLSFS/$n/ca
            printf 'dial localhost:%s\\nclient\\n' $PORT >&4
            exec 5<>$TLSFS/$n/data
            test -d $TLSFS/$n
            exec 4>&-
            test -d $TLSFS/$n && cat $TLSFS/$n/status
            exec 5>&-
            for i in 1 2 3 4 5 6 7 8 9 10; do test -d $TLSFS/$n || { echo gone; break; }; sleep 0.5; done
        """
        done = self.shell("dash", script, mount=self.mount(), environment=self.page_server())
        self.assertRan(done)
        self.assertIn("State: Established\n", done.stdout)
        self.assertTrue(done.stdout.endswith("gone\n"), done.stdout)


class Tree(Case):
    """The files, as `ls -l`, `cat` and `dd` see them."""

    def test_the_files_are_there_with_their_modes(self):
        mount = self.mount()
        connection = mount.connection()
        modes = {"clone": 0o666, "ciphers": 0o444, "engines": 0o444, "attach": 0o666}
        inside = {"ctl": 0o600, "data": 0o600, "ca": 0o200, "cert": 0o200, "key": 0o200, "peer": 0o400,
                  "status": 0o400, "stats": 0o400}
        number = str(connection.number)
        self.assertEqual(set(os.listdir(mount.path)), {*modes, number})
        self.assertEqual(set(os.listdir(connection.dir)), set(inside))
        self.assertEqual(stat.S_IMODE(os.stat(connection.dir).st_mode), 0o500)
        for directory, files in ((mount.path, modes), (connection.dir, inside)):
            for name, mode in files.items():
                found = os.stat(directory / name)
                self.assertEqual(oct(stat.S_IMODE(found.st_mode)), oct(mode), name)
                self.assertEqual(found.st_uid, 0 if directory == mount.path else os.getuid(), name)
        self.assertTrue(stat.S_ISSOCK(os.stat(mount.path / "attach").st_mode))
        self.assertTrue(stat.S_ISDIR(os.stat(connection.dir).st_mode))

    def test_nothing_can_be_made_removed_or_renamed(self):
        mount = self.mount()
        number = mount.connection().number
        for argv in (["touch", mount.file("new")], ["mkdir", mount.file("new")], ["rm", "-f", mount.file("clone")],
                     ["rmdir", mount.file(str(number))], ["mv", mount.file("clone"), mount.file("copy")],
                     ["ln", "-s", "x", mount.file("link")]):
            self.assertNotEqual(self.run_program(argv).returncode, 0, argv)
        self.assertRan(self.run_program(["cat", mount.file("engines")]))

    def test_ciphers_and_engines_are_lists(self):
        mount = self.mount()
        ciphers = mount.read("ciphers").splitlines()
        self.assertIn("TLS_AES_256_GCM_SHA384", ciphers)
        self.assertIn("ECDHE-ECDSA-AES128-GCM-SHA256", ciphers)
        self.assertEqual(len(ciphers), len(set(ciphers)))
        engines = mount.read("engines").splitlines()
        self.assertRegex(engines[0], r"^user openssl \d+\.\d+\.\d+")
        for line in engines[1:]:
            self.assertRegex(line, r"^kernel tlsdev \d+$")

    def test_ctl_gives_its_number_once_then_end_of_file(self):
        mount = self.mount()
        script = """
            exec 4<>$TLSFS/clone
            n=$(dd bs=1 count=1 <&4 2>/dev/null)$(dd bs=1 <&4 2>/dev/null)
            echo "$n"
            echo "then $(cat <&4)"
            cat "$TLSFS/$n/ctl"
            head -c 1 "$TLSFS/$n/ctl"
        """
        done = self.shell("dash", script, mount=mount)
        self.assertRan(done)
        self.assertRegex(done.stdout, r"^((\d)\d*)\nthen \n\1\n\2$")

    def test_numbers_of_several_digits_are_read_bytewise_by_the_shell(self):
        mount = self.mount()
        kept = [mount.connection() for _ in range(12)]
        numbers = [each.number for each in kept]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 12)))
        done = self.shell("bash", "exec 4<>$TLSFS/clone; read -r n <&4; echo \"<$n>\"", mount=mount)
        self.assertRan(done)
        self.assertEqual(done.stdout, f"<{numbers[-1] + 1}>\n")

    def test_the_secrets_files_cannot_be_read_and_the_telling_ones_not_written(self):
        mount = self.mount()
        connection = mount.connection()
        for name in ("ca", "cert", "key"):
            with self.subTest(name):
                descriptor = os.open(connection.dir / name, os.O_WRONLY)
                self.assertErrno(errno.EBADF, os.read, descriptor, 10)
                with contextlib.suppress(OSError):  # nothing is no PEM, and close(2) may say so
                    os.close(descriptor)
        # Root's permission to open does not make them readable.
        for name in ("ca", "cert", "key"):
            with self.subTest(name):
                try:
                    text = (connection.dir / name).read_bytes()
                except OSError:
                    text = b""
                self.assertEqual(text, b"")
        connection, _ = self.connect(mount)
        for name in ("peer", "status", "stats"):
            with self.subTest(name):
                self.assertNotEqual(self.shell("dash", f"echo x >{connection.dir}/{name}").returncode, 0)
                self.assertRan(self.run_program(["cat", connection.dir / name]))

    def test_peer_is_the_servers_chain_as_pem(self):
        connection, _ = self.connect(self.mount())
        self.assertEqual(connection.peer(), self.certs.text("good.pem").decode())
        done = subprocess.run(["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253"], input=connection.peer(),
                              text=True, capture_output=True, check=True)
        self.assertEqual(done.stdout, "subject=CN=good\n")
        self.assertIn("good", connection.status()["Peer"])
