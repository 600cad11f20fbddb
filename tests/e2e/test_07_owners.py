# SPDX-License-Identifier: MIT
"""Point 7: a connection belongs to who opened it; nobody else sees, steers or exhausts it."""

import errno
import os
import shutil
import socket
import subprocess
import sys

from harness import Case, engine, needs_root
from harness.certs import NAME
from harness.device import fields
from harness.peers import echo, server_context, tcp_pair
from harness.servers import s_server
from harness.wait import until

# Runs a program as the first of a pid namespace, hands SIGTERM on to it, and ends as it ended.
IN_A_NAMESPACE = """
import ctypes, os, signal, sys
ctypes.CDLL(None).unshare(0x20000000)
child = os.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

# A program of an ordinary user: opens a connection, says its number, and keeps it until its input ends.
HOLD = "exec 9<>$TLSFS/clone; read -r n <&9; echo $n; cat >/dev/null"

# Takes the transport on fd 0 to a connection of its own by `attach`, and talks over it.
ATTACH = """
import ctypes, os, socket, sys
if "undumpable" in sys.argv:
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
mount = os.environ["TLSFS"]
ctl = os.open(mount + "/clone", os.O_RDWR)
number = os.read(ctl, 20).strip()
try:
    os.write(ctl, b"fd 0")
    print("fd: taken")
except OSError as error:
    print("fd:", error.strerror)
    attach = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    attach.connect(mount + "/attach")
    socket.send_fds(attach, [number], [0])
    print("attach:", attach.recv(1000).decode())
here = mount + "/" + number.decode()
with open(os.environ["CA"], "rb") as source, open(here + "/ca", "wb", 0) as target:
    target.write(source.read())
os.write(ctl, b"client server.test")
data = os.open(here + "/data", os.O_RDWR)
os.write(data, b"hello")
print("echo:", os.read(data, 100).decode())
"""


class Visibility(Case):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()
        self.first, self.second = self.users()

    def hold(self, user):
        """A connection of the user's: (number, process)."""
        holder = self.spawn(["dash", "-euc", HOLD], user=user, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            environment={"TLSFS": str(self.tlsfs.path)})
        return int(holder.stdout.readline()), holder

    def test_another_user_sees_nothing_of_it_and_root_sees_all(self):
        number, _ = self.hold(self.first)
        number = str(number)
        for user, visible in ((self.first, True), (self.second, False), (None, True)):
            with self.subTest(user.name if user else "root"):
                listing = self.run_program(["ls", self.tlsfs.path], user=user).stdout.split()
                self.assertEqual(number in listing, visible)
                self.assertIn("clone", listing)
                for path in (number, f"{number}/status", f"{number}/ctl", f"{number}/data"):
                    done = self.run_program(["stat", self.tlsfs.path / path], user=user)
                    self.assertEqual(done.returncode == 0, visible, done.stderr)
                    if not visible:
                        self.assertIn("No such file", done.stderr)
                done = self.run_program(["cat", self.tlsfs.path / number / "status"], user=user)
                self.assertEqual(done.returncode == 0, visible, done.stderr)
                if visible:
                    self.assertEqual(fields(done.stdout)["Owner"], str(self.first.uid))

    def test_a_stranger_cannot_open_for_writing_either(self):
        number, _ = self.hold(self.first)
        for name in ("ctl", "data", "ca", "cert", "key"):
            done = self.run_program(["dash", "-c", f"echo x >{self.tlsfs.path}/{number}/{name}"], user=self.second)
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stderr, "[Nn]o such file|nonexistent")
        done = self.run_program(["dash", "-c", f"cat {self.certs.ca} >{self.tlsfs.path}/{number}/ca"], user=self.first)
        self.assertRan(done)

    def test_a_file_that_a_stranger_looked_for_is_still_there_for_its_owner(self):
        """Neither answer may be remembered by the kernel for the other user."""
        number, _ = self.hold(self.first)
        path = self.tlsfs.path / str(number) / "status"
        for user, visible in ((self.second, False), (self.first, True), (self.second, False), (self.first, True)):
            self.assertEqual(self.run_program(["cat", path], user=user).returncode == 0, visible)

    def test_nobody_reads_a_secret_back_not_even_its_owner(self):
        number, _ = self.hold(self.first)
        for name in ("ca", "cert", "key"):
            done = self.run_program(["cat", self.tlsfs.path / str(number) / name], user=self.first)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("Permission denied", done.stderr)
        self.assertRan(self.run_program(["cat", self.tlsfs.path / str(number) / "stats"], user=self.first))

    def test_every_user_has_connections_on_the_system_mount(self):
        numbers = [self.hold(user)[0] for user in (self.first, self.second, None)]
        self.assertEqual(len(set(numbers)), 3)
        self.assertEqual(self.tlsfs.numbers(), numbers)

    def test_numbers_count_up_and_are_not_reused_soon(self):
        seen = []
        for _ in range(50):
            connection = self.tlsfs.connection()
            seen.append(connection.number)
            connection.close()
        self.assertEqual(seen, sorted(set(seen)))


class Writers(Case):
    """Whoever writes to `ctl` must be who opened it."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()
        self.first, self.second = self.users()

    def setuid_program(self, owner):
        """printf(1) as a set-user-id program of root's, in a directory where that counts."""
        path = self.dir / "setuid-printf"
        shutil.copy("/usr/bin/printf", path)
        os.chown(path, owner, 0)
        path.chmod(0o4755)
        done = self.run_program(["sh", "-c", f"cp /usr/bin/id {self.dir}/setuid-id && chmod 4755 {self.dir}/setuid-id"])
        self.assertRan(done)
        if "euid=0" not in self.run_program([self.dir / "setuid-id"], user=self.first).stdout:
            self.skipTest("set-user-id does not work in the temporary directory")
        return str(path)

    @needs_root
    def test_a_setuid_program_that_was_handed_a_ctl_is_refused(self):
        program = self.setuid_program(0)
        good = self.run_program(["bash", "-c", "exec 9<>$TLSFS/clone; /usr/bin/printf 'timeout 5\\n' >&9 && echo taken"],
                                user=self.first, environment={"TLSFS": str(self.tlsfs.path)})
        self.assertEqual(good.stdout, "taken\n", good.stderr)
        bad = self.run_program(["bash", "-c", f"exec 9<>$TLSFS/clone; {program} 'timeout 5\\n' >&9 && echo taken"],
                               user=self.first, environment={"TLSFS": str(self.tlsfs.path)})
        self.assertEqual(bad.stdout, "")
        self.assertIn("Operation not permitted", bad.stderr)

    @needs_root
    def test_a_setuid_program_does_not_lend_its_descriptors(self):
        """The classic: the line names a descriptor that means something else to the privileged writer."""
        program = self.setuid_program(0)
        script = f"exec 9<>$TLSFS/clone; read -r n <&9; {program} 'fd 0\\n' >&9; cat $TLSFS/$n/status"
        ours, theirs = socket.socketpair()
        with ours, theirs:
            done = self.run_program(["bash", "-c", script], user=self.first, stdin=ours,
                                    environment={"TLSFS": str(self.tlsfs.path)})
        self.assertIn("Operation not permitted", done.stderr)
        self.assertIn("State: New", done.stdout)

    def test_another_user_and_even_root_are_refused_on_a_handed_ctl(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            sender = ("import os, socket, sys; s = socket.socket(fileno=0);"
                      "fd = os.open(os.environ['TLSFS'] + '/clone', os.O_RDWR); socket.send_fds(s, [b'x'], [fd]);"
                      "os.write(fd, b'timeout 5'); s.recv(1); os.write(fd, b'timeout 6')")
            owner = self.spawn([sys.executable, "-c", sender], user=self.first, stdin=theirs,
                               environment={"TLSFS": str(self.tlsfs.path)})
            _, [ctl], _, _ = socket.recv_fds(ours, 1, 1)
            self.assertErrno(errno.EPERM, os.write, ctl, b"timeout 7")
            done = self.shell("bash", f"echo hangup >&{ctl}", user=self.second, pass_fds=[ctl])
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("Operation not permitted", done.stderr)
            ours.send(b"x")
            self.assertEqual(owner.wait(), 0, owner.output())
            os.close(ctl)

    def test_root_may_look_at_a_users_connection_but_not_write_its_ctl(self):
        holder = self.spawn(["dash", "-euc", HOLD], user=self.first, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            environment={"TLSFS": str(self.tlsfs.path)})
        number = holder.stdout.readline().decode().strip()
        self.assertIn("State: New", self.tlsfs.read(f"{number}/status"))
        ctl = os.open(self.tlsfs.file(f"{number}/ctl"), os.O_RDWR)
        self.assertEqual(os.read(ctl, 10).decode().strip(), number)
        # Root opened this one itself; what it says about descriptors and paths would still be root's own.
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.assertErrno(errno.EPERM, os.write, ctl, b"fd %d" % ours.fileno())
        for line in (b"dial /run/only-root.sock", b"timeout 5", b"client x", b"hangup\nfd 0", b"verify none\nhangup\n"):
            self.assertErrno(errno.EPERM, os.write, ctl, line)
        self.assertIn("State: New", self.tlsfs.read(f"{number}/status"))
        os.close(ctl)

    def test_what_root_writes_by_path_into_a_users_connection_is_not_obeyed(self):
        """A log file that is a symbolic link, say."""
        holder = self.spawn(["dash", "-euc", HOLD], user=self.first, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            environment={"TLSFS": str(self.tlsfs.path)})
        number = holder.stdout.readline().decode().strip()
        log = self.dir / "log"
        log.symlink_to(self.tlsfs.file(f"{number}/ctl"))
        done = self.run_program(["bash", "-c", f"echo timeout 5 >{log}"])
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("not permitted", done.stderr)
        self.assertIn("State: New", self.tlsfs.read(f"{number}/status"))

    def test_root_may_hang_up(self):
        holder = self.spawn(["dash", "-euc", HOLD], user=self.first, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            environment={"TLSFS": str(self.tlsfs.path)})
        number = holder.stdout.readline().decode().strip()
        done = self.run_program(["dash", "-c", f"echo hangup >{self.tlsfs.file(number)}/ctl"])
        self.assertRan(done)
        self.assertIn("State: Closed", self.tlsfs.read(f"{number}/status"))


class Attach(Case):
    """The way for those whose descriptors may not be taken."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def run_attacher(self, *words, user=None, wrap=()):
        ours, theirs = tcp_pair()
        peer = self.peer(theirs, server_context(self.certs), echo)
        with ours:
            done = self.run_program([*wrap, sys.executable, "-c", ATTACH, *words], user=user, stdin=ours,
                                    environment={"TLSFS": str(self.tlsfs.path), "CA": self.certs.ca})
        self.assertRan(done)
        self.assertEqual(peer.result(), 5)
        return done.stdout

    def test_an_ordinary_program_needs_no_attach(self):
        first, _ = self.users()
        self.assertEqual(self.run_attacher(user=first), "fd: taken\necho: hello\n")

    def test_a_program_that_is_not_dumpable_attaches(self):
        first, _ = self.users()
        # The module looks a number up for the writer itself, and needs no leave to look into a process.
        fd = "fd: taken\n" if engine.name == "kernel" else "fd: Operation not permitted\nattach: ok\n"
        self.assertEqual(self.run_attacher("undumpable", user=first), fd + "echo: hello\n")

    @needs_root
    def test_a_program_in_a_pid_namespace_below_is_served(self):
        """The companion may see such a process, and then may take its descriptor; if not, `attach` works."""
        if self.run_program(["unshare", "--pid", "--fork", "true"]).returncode != 0:
            self.skipTest("no pid namespace of our own")
        said = self.run_attacher(wrap=["unshare", "--pid", "--fork", "--propagation=unchanged", "--mount-proc"])
        self.assertIn(said, ("fd: taken\necho: hello\n", "fd: Operation not permitted\nattach: ok\necho: hello\n"))

    @needs_root
    def test_a_program_in_a_pid_namespace_beside_attaches(self):
        """The companion lives in a namespace of its own, from which it cannot see us."""
        if self.run_program(["unshare", "--pid", "--fork", "true"]).returncode != 0:
            self.skipTest("no pid namespace of our own")
        tlsfs = self.mount(wrap=[sys.executable, "-c", IN_A_NAMESPACE])
        connection = tlsfs.connection()
        ours, theirs = tcp_pair()
        peer = self.peer(theirs, server_context(self.certs), echo)
        with ours:
            self.assertErrno(errno.EPERM, connection.say, f"fd {ours.fileno()}")
            self.assertIn("attach", connection.status()["Error"])
            self.assertEqual(self.send(b"%d" % connection.number, [ours.fileno()], tlsfs), "ok")
        connection.put("ca", self.certs.text("ca.pem"))
        connection.say(f"client {NAME}")
        connection.close()
        self.assertEqual(peer.result(), 0)

    def send(self, message, descriptors, tlsfs=None):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as attach:
            attach.connect((tlsfs or self.tlsfs).file("attach"))
            attach.settimeout(30)
            if descriptors:
                socket.send_fds(attach, [message], descriptors)
            else:
                attach.send(message)
            return attach.recv(1000).decode()

    def test_one_or_two_descriptors_attach(self):
        for twice in (False, True):
            connection = self.tlsfs.connection()
            ours, theirs = tcp_pair()
            peer = self.peer(theirs, server_context(self.certs), echo)
            with ours:
                self.assertEqual(self.send(b"%d" % connection.number, [ours.fileno()] * (1 + twice)), "ok")
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(f"client {NAME}")
            connection.close()
            self.assertEqual(peer.result(), 0)

    def test_bad_messages_are_answered_and_harm_nobody(self):
        connection = self.tlsfs.connection()
        number = b"%d" % connection.number
        ours, theirs = socket.socketpair()
        with ours, theirs, open("/dev/null", "rb") as file:
            fd = ours.fileno()
            for message, descriptors, answer in (
                    (number, [], "EINVAL|EBADF"), (b"", [fd], "EINVAL"), (b"999", [fd], "ENOENT"), (b"-1", [fd], "EINVAL|ENOENT"),
                    (b"no number", [fd], "EINVAL"), (number + b" x", [fd], "EINVAL"), (number, [fd, fd, fd], "EINVAL|EBADF"),
                    (number, [file.fileno()], "EOPNOTSUPP"), (b"9" * 5000, [fd], "EINVAL|EMSGSIZE|ENOENT"),
                    (b"\0\n\xff", [fd], "EINVAL")):
                with self.subTest(message[:20]):
                    self.assertRegex(self.send(message, descriptors), f"^({answer}) .")
            self.assertEqual(self.send(number, [fd]), "ok")
            self.assertRegex(self.send(number, [fd]), "^EBUSY .")

    def test_only_the_owner_can_attach(self):
        first, _ = self.users()
        holder = self.spawn(["dash", "-euc", HOLD], user=first, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            environment={"TLSFS": str(self.tlsfs.path)})
        number = holder.stdout.readline().strip()
        mine = self.tlsfs.connection()
        script = ("import os, socket, sys; a = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
                  "a.connect(os.environ['TLSFS'] + '/attach'); socket.send_fds(a, [sys.argv[1].encode()], [0]);"
                  "print(a.recv(1000).decode())")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            def attach(user, which):
                return self.run_program([sys.executable, "-c", script, which], user=user, stdin=ours,
                                        environment={"TLSFS": str(self.tlsfs.path)}).stdout
            _, second = self.users()
            self.assertRegex(attach(second, number.decode()), "^ENOENT .")
            self.assertRegex(attach(first, str(mine.number)), "^ENOENT .")
            self.assertEqual(attach(first, number.decode()), "ok\n")

    def test_a_client_that_says_nothing_or_goes_away_harms_nobody(self):
        kept = []
        for _ in range(20):
            idle = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.addCleanup(idle.close)
            idle.connect(self.tlsfs.file("attach"))
            kept.append(idle)
        for idle in kept[::2]:
            idle.close()
        self.test_one_or_two_descriptors_attach()


class Limits(Case):
    def open_until_refused(self, mount, most=200):
        """Opens `clone` until that fails: (connections, errno)."""
        opened = []
        while len(opened) < most:
            try:
                opened.append(mount.connection())
            except OSError as error:
                return opened, error.errno
        self.fail("never refused")

    def test_a_user_at_the_limit_gets_emfile_and_stops_nobody_else(self):
        first, _ = self.users()
        mount = self.mount("--max-per-user", "5")
        opened, code = self.open_until_refused(mount)
        self.assertEqual((len(opened), code), (5, errno.EMFILE))
        done = self.shell("dash", "exec 9<>$TLSFS/clone; echo ok", mount=mount, user=first)
        self.assertEqual(done.stdout, "ok\n", done.stderr)
        opened[0].close()
        again = until(lambda: self.try_open(mount), "a place that became free")
        self.assertErrno(errno.EMFILE, mount.connection)
        again.close()

    def test_a_mount_at_its_limit_gives_enfile(self):
        first, _ = self.users()
        mount = self.mount("--max-connections", "7")
        opened, code = self.open_until_refused(mount)
        self.assertEqual((len(opened), code), (7, errno.ENFILE))
        done = self.shell("bash", "exec 9<>$TLSFS/clone && cat <&9", mount=mount, user=first)
        self.assertIn("Too many open files in system", done.stderr)
        opened[3].close()
        until(lambda: self.try_open(mount), "a place that became free")

    def try_open(self, mount):
        try:
            return mount.connection()
        except OSError:
            return None

    def test_a_user_at_the_limit_goes_on_with_what_it_has(self):
        mount = self.mount("--max-per-user", "2")
        connection, _ = self.connect(mount)
        mount.connection()
        self.assertErrno(errno.EMFILE, mount.connection)
        data = connection.data()
        os.write(data, b"goes on")
        self.assertEqual(os.read(data, 100), b"goes on")


class Private(Case):
    """A mount of an ordinary user's own, through fusermount3."""

    def setUp(self):
        super().setUp()
        self.first, self.second = self.users()
        self.tlsfs = self.mount(user=self.first)

    def fetch(self, user, environment):
        script = """
            exec 4<>$TLSFS/clone; read -r n <&4; cat "$CA" >$TLSFS/$n/ca
            printf 'dial localhost:%s\\nclient\\n' $PORT >&4
            exec 5<>$TLSFS/$n/data; echo abc >&5; read -r line <&5; echo "$line"; grep -E 'State|Engine|Owner' $TLSFS/$n/status
        """
        return self.shell("dash", script, mount=self.tlsfs, user=user, environment=environment)

    def test_its_user_talks_tls_and_nobody_else_gets_in(self):
        environment = {"PORT": str(s_server(self, "-rev").port)}
        done = self.fetch(self.first, environment)
        self.assertRan(done)
        self.assertEqual(done.stdout, f"cba\nState: Established\nEngine: user\nOwner: {self.first.uid}\n")
        for user in (self.second, None):
            done = self.fetch(user, environment)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("Permission denied", done.stderr)

    def test_fd_takes_descriptors_of_the_same_user(self):
        ours, theirs = tcp_pair()
        peer = self.peer(theirs, server_context(self.certs), echo)
        with ours:
            done = self.run_program([sys.executable, "-c", ATTACH], user=self.first, stdin=ours,
                                    environment={"TLSFS": str(self.tlsfs.path), "CA": self.certs.ca})
        self.assertRan(done)
        self.assertEqual(done.stdout, "fd: taken\necho: hello\n")
        self.assertEqual(peer.result(), 5)

    def test_attach_works_there_too(self):
        ours, theirs = tcp_pair()
        peer = self.peer(theirs, server_context(self.certs), echo)
        with ours:
            done = self.run_program([sys.executable, "-c", ATTACH, "undumpable"], user=self.first, stdin=ours,
                                    environment={"TLSFS": str(self.tlsfs.path), "CA": self.certs.ca})
        self.assertRan(done)
        self.assertEqual(done.stdout, "fd: Operation not permitted\nattach: ok\necho: hello\n")
        self.assertEqual(peer.result(), 5)
