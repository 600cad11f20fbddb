# SPDX-License-Identifier: MIT
"""Point 6: every connected stream carries TLS, nothing else does, and the caller's descriptors stay as they are."""

import ctypes
import errno
import fcntl
import os
import pty
import select
import socket
import subprocess
import tty

from harness import Case, needs_root
from harness.certs import NAME
from harness.device import read_exactly
from harness.peers import Peer, echo, server_context, silent, tcp6_pair, tcp_pair, unix_pair
from harness.servers import exim

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000


def vsock_pair():
    """Two ends on the machine's own vsock, where it has one."""
    local = 1  # VMADDR_CID_LOCAL
    with socket.socket(socket.AF_VSOCK) as listener:
        listener.bind((local, socket.VMADDR_PORT_ANY))
        listener.listen(1)
        ours = socket.socket(socket.AF_VSOCK)
        ours.settimeout(5)
        ours.connect((local, listener.getsockname()[1]))
        ours.setblocking(True)
        theirs, _ = listener.accept()
    return ours, theirs


class Kinds(Case):
    """Each kind of stream carries a conversation and its orderly end."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def talk(self, connection):
        data = connection.data()
        for size in (5, 100_000):
            content = os.urandom(size)
            writer = self.background(os.write, data, content)
            self.assertEqual(read_exactly(data, size), content)
            writer.result()
        connection.say("close")
        self.assertEqual(os.read(data, 10), b"")
        connection.close()

    def carry(self, pair):
        for make in (self.connect, self.accept):
            connection, peer = make(self.tlsfs, pair=pair)
            self.talk(connection)
            self.assertEqual(peer.result(), 100_005)

    def test_tcp_over_ipv4(self):
        self.carry(tcp_pair)

    def test_tcp_over_ipv6(self):
        self.carry(tcp6_pair)

    def test_unix_sockets(self):
        self.carry(unix_pair)

    def test_socketpairs(self):
        self.carry(socket.socketpair)

    def test_vsock(self):
        try:
            for end in vsock_pair():
                end.close()
        except OSError as error:
            self.skipTest(f"no vsock on this machine: {error}")
        self.carry(vsock_pair)

    def run_peer(self, incoming, outgoing):
        """An echo on two descriptors, which it closes."""
        def run():
            peer = Peer(incoming, outgoing, server_context(self.certs))
            try:
                peer.handshake()
                return echo(peer)
            finally:
                for descriptor in {incoming, outgoing}:
                    os.close(descriptor)
        return self.background(run)

    def client_on(self, words, *descriptors):
        connection = self.tlsfs.connection()
        connection.put("ca", self.certs.text("ca.pem"))
        connection.say(f"fd {words}", f"client {NAME}")
        for descriptor in descriptors:
            os.close(descriptor)
        self.assertEngine(connection, family=None)
        return connection

    def test_a_pair_of_pipes(self):
        their_in, our_out = os.pipe()
        our_in, their_out = os.pipe()
        peer = self.run_peer(their_in, their_out)
        self.talk(self.client_on(f"{our_in} {our_out}", our_in, our_out))
        self.assertEqual(peer.result(), 100_005)

    def test_the_pipes_of_a_program(self):
        """As with ssh or a proxy command: the transport is what a program reads and writes."""
        ours, theirs = socket.socketpair()
        relay = self.spawn(["socat", "-", f"FD:{theirs.fileno()}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           pass_fds=[theirs.fileno()])
        theirs.close()
        peer = self.peer(ours, server_context(self.certs), echo)
        connection = self.client_on(f"{relay.stdout.fileno()} {relay.stdin.fileno()}")
        relay.stdin.close()
        relay.stdout.close()
        self.talk(connection)
        self.assertEqual(peer.result(), 100_005)

    def test_a_pty(self):
        ours, theirs = pty.openpty()
        tty.setraw(ours)
        tty.setraw(theirs)
        kept = os.dup(ours)  # the last close of the master would discard what is on its way
        peer = self.run_peer(ours, ours)
        self.talk(self.client_on(f"{theirs}", theirs))
        os.close(kept)
        self.assertEqual(peer.result(), 100_005)

    def test_two_sockets_one_for_each_direction(self):
        first, their_in = socket.socketpair()
        second, their_out = socket.socketpair()
        peer = self.run_peer(their_in.detach(), their_out.detach())
        connection = self.client_on(f"{second.fileno()} {first.fileno()}")
        first.close()
        second.close()
        self.talk(connection)
        self.assertEqual(peer.result(), 100_005)


class Dial(Case):
    def listener(self, family, address):
        listener = socket.socket(family)
        self.addCleanup(listener.close)
        listener.bind(address)
        listener.listen(5)

        def accept():
            theirs, _ = listener.accept()
            return self.peer(theirs, server_context(self.certs, "ip" if family != socket.AF_UNIX else "good"), echo).result()
        return listener, self.background(accept)

    def dial(self, mount, target, *client):
        connection = mount.connection()
        connection.put("ca", self.certs.text("ca.pem"))
        connection.say(f"dial {target}", " ".join(["client", *client]))
        data = connection.data()
        os.write(data, b"over " + target.encode())
        self.assertEqual(os.read(data, 200), b"over " + target.encode())
        status = connection.status()
        connection.close()
        return status

    def test_ipv4_and_ipv6_addresses(self):
        tlsfs = self.mount()
        for family, address, target in ((socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "[::1]")):
            listener, peer = self.listener(family, (address, 0))
            port = listener.getsockname()[1]
            status = self.dial(tlsfs, f"{target}:{port}")
            peer.result()
            self.assertIn(str(port), status["Remote"])
            self.assertIn(address, status["Remote"])

    def test_a_path_of_a_unix_socket(self):
        path, tlsfs = self.dir / "a socket", self.mount()
        _, peer = self.listener(socket.AF_UNIX, str(path))
        connection = tlsfs.connection()
        connection.put("ca", self.certs.text("ca.pem"))
        connection.say(f"dial '{path}'", f"client {NAME}")
        connection.close()
        self.assertEqual(peer.result(), 0)
        nameless = tlsfs.connection()
        _, peer = self.listener(socket.AF_UNIX, str(self.dir / "other"))
        nameless.say(f"dial {self.dir}/other")
        self.assertErrno(errno.EINVAL, nameless.say, "client")

    def test_a_name_of_a_service_is_a_port_or_refused(self):
        tlsfs = self.mount()
        self.assertErrno((errno.EINVAL, errno.EHOSTUNREACH), tlsfs.connection().say, "dial localhost:no-such-service")
        self.assertErrno((errno.EHOSTUNREACH, errno.ENOENT), tlsfs.connection().say, "dial no-such-host.invalid:443")

    @needs_root
    def test_all_addresses_of_a_name_are_tried(self):
        """With a hosts file of our own, in a mount namespace of our own."""
        hosts = self.dir / "hosts"
        hosts.write_text("127.0.0.3 many.test\n127.0.0.2 many.test\n::1 many.test\n127.0.0.1 localhost\n")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) != 0:
            self.skipTest("no mount namespace of our own")
        libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        self.assertEqual(libc.mount(str(hosts).encode(), b"/etc/hosts", None, MS_BIND, None), 0)
        self.addCleanup(libc.umount2, b"/etc/hosts", 2)
        tlsfs = self.mount()
        listener, peer = self.listener(socket.AF_INET, ("127.0.0.2", 0))
        port = listener.getsockname()[1]
        status = self.dial(tlsfs, f"many.test:{port}", "127.0.0.1")
        self.assertIn("127.0.0.2", status["Remote"])
        peer.result()
        listener.close()
        connection = tlsfs.connection()
        self.assertErrno(errno.ECONNREFUSED, connection.say, f"dial many.test:{port}")

    @needs_root
    def test_dial_is_only_for_those_who_see_the_same_network_and_files(self):
        """Otherwise a program in a container would reach what it was kept away from."""
        tlsfs = self.mount()
        path = self.dir / "socket"
        server, _ = self.listener(socket.AF_INET, ("127.0.0.1", 0))
        self.listener(socket.AF_UNIX, str(path))
        here = f"127.0.0.1:{server.getsockname()[1]}"
        dial = "exec 9<>$TLSFS/clone; printf 'dial %s\\n' \"$1\" >&9 && echo taken"
        for unshare, target, taken in (("-n", here, False), ("-m", here, True), ("-m", path, False)):
            with self.subTest(f"unshare {unshare}, dial {target}"):
                done = self.run_program(["unshare", unshare, "--propagation=unchanged", "bash", "-c", dial, "bash", target],
                                        environment={"TLSFS": str(tlsfs.path)})
                self.assertEqual(done.stdout, "taken\n" if taken else "", done.stderr)
                if not taken:
                    self.assertIn("Operation not permitted", done.stderr)

    def test_dial_has_the_rights_of_who_asks_and_no_others(self):
        user, other = self.users()
        tlsfs = self.mount()
        place = self.dir / "private"
        place.mkdir(mode=0o700)
        user.own(place)
        self.listener(socket.AF_UNIX, str(place / "socket"))
        user.own(place / "socket")
        script = f"exec 9<>$TLSFS/clone; echo 'dial {place}/socket' >&9 && echo taken"
        done = self.shell("bash", script, mount=tlsfs, user=user)
        self.assertEqual(done.stdout, "taken\n", done.stderr)
        done = self.shell("bash", script, mount=tlsfs, user=other)
        self.assertEqual(done.stdout, "")
        self.assertIn("Permission denied", done.stderr)

    def test_dial_is_bounded_by_timeout(self):
        # A listener whose queue is full leaves further connections waiting.
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            waiting = []
            for _ in range(4):
                probe = socket.socket()
                self.addCleanup(probe.close)
                probe.setblocking(False)
                probe.connect_ex(("127.0.0.1", port))
                waiting.append(probe)
            select.select([], [], [], 0.2)
            connection = self.mount().connection()
            self.assertErrno(errno.ETIMEDOUT, connection.say, "timeout 1", f"dial 127.0.0.1:{port}", f"client {NAME}")


class Refused(Case):
    """What is no connected stream is refused by its errno, and the connection can be used with a better one."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def assertRefused(self, code, words):
        connection = self.tlsfs.connection()
        self.assertErrno(code, connection.say, f"fd {words}")
        self.assertIn("Error", connection.status())
        self.assertErrno(errno.ENOTCONN, connection.say, f"client {NAME}")
        # The neighbour that is good works on the same connection.
        ours, theirs = tcp_pair()
        peer = self.peer(theirs, server_context(self.certs), lambda peer: peer.read_all())
        with ours:
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(f"fd {ours.fileno()}", f"client {NAME}")
        connection.close()
        self.assertEqual(peer.result(), b"")

    def descriptor(self, value):
        """A descriptor that is closed when the test ends."""
        self.addCleanup(os.close, value)
        return value

    def test_files_and_directories(self):
        path = self.dir / "file"
        path.write_bytes(b"x")
        self.assertRefused(errno.EOPNOTSUPP, self.descriptor(os.open(path, os.O_RDWR)))
        self.assertRefused(errno.EOPNOTSUPP, self.descriptor(os.open(self.dir, os.O_RDONLY)))
        self.assertRefused(errno.EOPNOTSUPP, self.descriptor(os.open("/dev/null", os.O_RDWR)))

    def test_descriptors_that_are_no_streams(self):
        self.assertRefused(errno.EOPNOTSUPP, self.descriptor(os.eventfd(0)))
        with select.epoll() as epoll:
            self.assertRefused(errno.EOPNOTSUPP, epoll.fileno())
        self.assertRefused(errno.EOPNOTSUPP, self.descriptor(os.memfd_create("x")))

    def test_sockets_that_are_not_connected_streams(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            self.assertRefused(errno.EOPNOTSUPP, listener.fileno())
        with socket.socket() as fresh:
            self.assertRefused((errno.EOPNOTSUPP, errno.ENOTCONN), fresh.fileno())
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", 0))
            datagrams.connect(datagrams.getsockname())
            self.assertRefused(errno.EOPNOTSUPP, datagrams.fileno())
        for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
            with ours, theirs:
                self.assertRefused(errno.EOPNOTSUPP, ours.fileno())

    def test_pipes_in_the_wrong_direction_and_alone(self):
        reading, writing = (self.descriptor(each) for each in os.pipe())
        wrong = (errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL)
        self.assertRefused(wrong, f"{writing} {reading}")
        self.assertRefused(wrong, f"{reading}")
        self.assertRefused(wrong, f"{writing}")

    def test_closed_numbers(self):
        reading, writing = os.pipe()
        os.close(reading)
        os.close(writing)
        self.assertRefused(errno.EBADF, f"{writing}")
        self.assertRefused(errno.EBADF, "1000000")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.assertRefused(errno.EBADF, f"{ours.fileno()} 1000000")
            self.assertRefused(errno.EBADF, f"1000000 {ours.fileno()}")

    def test_files_of_the_same_mount(self):
        connection, _ = self.connect(self.tlsfs)
        self.assertRefused(errno.ELOOP, connection.data())
        self.assertRefused(errno.ELOOP, connection.ctl)
        self.assertRefused(errno.ELOOP, self.descriptor(os.open(self.tlsfs.file("engines"), os.O_RDONLY)))
        loop = self.tlsfs.connection()
        self.assertErrno(errno.ELOOP, loop.say, f"fd {loop.ctl}")
        data = connection.data()
        os.write(data, b"goes on")
        self.assertEqual(os.read(data, 100), b"goes on")

    def test_a_second_transport_is_ebusy(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            connection = self.tlsfs.connection()
            connection.say(f"fd {ours.fileno()}")
            self.assertErrno(errno.EBUSY, connection.say, f"fd {ours.fileno()}")
            self.assertErrno(errno.EBUSY, connection.say, "dial localhost:1")
        connection, _ = self.connect(self.tlsfs, silent)
        self.assertErrno(errno.EBUSY, connection.say, "fd 0")


class Flags(Case):
    """The caller's descriptor is shared with us, and stays as it was."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def check(self, pair, blocking):
        ours, theirs = pair()
        peer = self.peer(theirs, server_context(self.certs), echo)
        with ours:
            ours.setblocking(blocking)
            flags = fcntl.fcntl(ours, fcntl.F_GETFL)
            own = fcntl.fcntl(ours, fcntl.F_GETFD)
            connection = self.tlsfs.connection()
            connection.put("ca", self.certs.text("ca.pem"))

            def unchanged(when):
                self.assertEqual(fcntl.fcntl(ours, fcntl.F_GETFL), flags, when)
                self.assertEqual(fcntl.fcntl(ours, fcntl.F_GETFD), own, when)
            connection.say(f"fd {ours.fileno()}")
            unchanged("after fd")
            connection.say(f"client {NAME}")
            unchanged("after the handshake")
            data = connection.data(os.O_NONBLOCK)
            self.assertErrno(errno.EAGAIN, os.read, data, 1)
            unchanged("after a nonblocking read")
            os.set_blocking(data, True)
            content = bytes(1 << 20)
            writer = self.background(os.write, data, content)
            self.assertEqual(read_exactly(data, len(content)), content)
            writer.result()
            unchanged("after data")
            connection.close()
            self.assertEqual(peer.result(), len(content))
            unchanged("after the end")

    def test_a_blocking_transport_stays_blocking(self):
        for pair in (tcp_pair, unix_pair):
            self.check(pair, True)

    def test_a_nonblocking_transport_stays_nonblocking(self):
        for pair in (tcp_pair, unix_pair):
            self.check(pair, False)

    def test_a_blocking_pipe_or_tty_blocks_nobody_else(self):
        """We may not set O_NONBLOCK, and yet a silent transport must not stop other connections."""
        their_in, our_out = os.pipe()
        our_in, their_out = os.pipe()
        with open(our_in, "rb", 0), open(our_out, "wb", 0), open(their_in, "rb", 0), open(their_out, "wb", 0):
            stuck = self.tlsfs.connection(os.O_NONBLOCK)
            stuck.say("timeout 60", f"fd {our_in} {our_out}", "verify none")
            self.assertErrno(errno.EINPROGRESS, stuck.say, "client")
            for descriptor in (our_in, our_out):
                self.assertFalse(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NONBLOCK)
            for _ in range(10):
                connection, peer = self.connect(self.tlsfs, echo)
                data = connection.data()
                os.write(data, b"free")
                self.assertEqual(os.read(data, 10), b"free")
                connection.close()
                peer.result()
            stuck.close()

    def test_a_full_pipe_of_a_peer_that_reads_nothing_blocks_nobody_else(self):
        their_in, our_out = os.pipe()
        our_in, their_out = os.pipe()

        def handshake_only():
            peer = Peer(their_in, their_out, server_context(self.certs))
            peer.handshake()
            return peer
        peer = self.background(handshake_only)
        connection = self.tlsfs.connection()
        connection.put("ca", self.certs.text("ca.pem"))
        connection.say(f"fd {our_in} {our_out}", f"client {NAME}")
        peer.result()
        data = connection.data()
        writer = self.spawn(["dd", "if=/dev/zero", "bs=1M"], stdout=data)
        select.select([], [], [], 0.5)
        other, other_peer = self.connect(self.tlsfs, echo)
        descriptor = other.data()
        os.write(descriptor, b"free")
        self.assertEqual(os.read(descriptor, 10), b"free")
        other.close()
        other_peer.result()
        writer.signal(9)
        self.assertEqual(writer.wait(), -9)
        for descriptor in (their_in, their_out, our_in, our_out):
            os.close(descriptor)


STARTTLS = r"""
    exec 3<>/dev/tcp/127.0.0.1/$PORT
    say() { printf '%s\r\n' "$1" >&3; }
    hear() { while read -r code <&3 && echo "plain $code" && [ "${code:3:1}" = - ]; do :; done; }
    hear
    say "EHLO client.test"; hear
    say STARTTLS; hear
    exec 4<>$TLSFS/clone; read -r n <&4
    cat "$CA" >$TLSFS/$n/ca
    printf 'fd 3\nclient server.test\n' >&4
    exec 3>&- 3<>$TLSFS/$n/data
    hear() { while read -r code <&3 && echo "secret $code" && [ "${code:3:1}" = - ]; do :; done; }
    say "EHLO client.test"; hear
    say "MAIL FROM:<a@client.test>"; hear
    say "RCPT TO:<b@server.test>"; hear
    say DATA; hear
    say "Subject: over TLS"; say ""; say "hello"; say .; hear
    say QUIT; hear
    cat <&3
"""


class StartTLS(Case):
    @needs_root
    def test_a_shell_sends_mail_by_starttls(self):
        try:
            server = exim(self, NAME)
        except FileNotFoundError as error:
            self.skipTest(f"no SMTP server: {error}")
        mount = self.mount()
        done = self.shell("bash", STARTTLS, mount=mount, environment={"PORT": str(server.port)})
        self.assertRan(done, server.output())
        plain = [line for line in done.stdout.splitlines() if line.startswith("plain")]
        secret = [line for line in done.stdout.splitlines() if line.startswith("secret")]
        self.assertTrue(any("STARTTLS" in line for line in plain), done.stdout)
        self.assertTrue(plain[-1].startswith("plain 220"), done.stdout)
        self.assertFalse(any("STARTTLS" in line for line in secret), done.stdout)
        self.assertTrue(any("250 OK id=" in line for line in secret), done.stdout)
        self.assertTrue(secret[-1].startswith("secret 221"), done.stdout)
