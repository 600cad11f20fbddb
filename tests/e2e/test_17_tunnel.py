# SPDX-License-Identifier: MIT
"""Point 17: tlstunnel relays between plain and TLS, and no end of the one side looks like another end on the other."""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import threading

from harness import TIMEOUT, Case, concurrent, engine, needs_root, program, proxy, scaled
from harness.certs import NAME
from harness.keys import traces_of
from harness.mount import is_mounted
from harness.peers import Peer, client_context, reset, server_context
from harness.processes import descriptors, memory_has, threads
from harness.servers import free_port, listens, nginx, s_server
from harness.wait import settles, until

LOOPBACK = "127.0.0.1"


HAPROXY = """
defaults
    mode http
    timeout client 30s
    timeout connect 30s
    timeout server 30s
frontend in
    bind 127.0.0.1:{port} accept-proxy
    http-request return status 200 content-type text/plain lf-string "{said}"
"""


def listener(family=socket.AF_INET):
    """A plain listening socket on a free port."""
    return socket.create_server(("::1" if family == socket.AF_INET6 else LOOPBACK, 0), family=family, backlog=1024)


def receive_all(sock):
    """All bytes up to the end of the stream."""
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def receive_exactly(sock, count):
    parts = b""
    while len(parts) < count:
        part = sock.recv(count - len(parts))
        if not part:
            raise EOFError(f"{count - len(parts)} bytes are missing")
        parts += part
    return parts


def strict(context):
    """Python takes a bare end of the transport for a proper one, unless told."""
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


class Tunnels(Case):
    """What the tests below share."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()
        os.environ["TLSFS"] = str(self.tlsfs.path)

    def tunnel(self, *words, listen=(f"{LOOPBACK}:0",), wrap=(), **options):
        """tlstunnel that listens: `port` is that of its first listener."""
        places = [part for place in listen for part in ("-l", place)]
        process = self.spawn([*wrap, program("tlstunnel"), *words, *places], **options)
        until(lambda: process.code() is not None or process.output().count("listening on") >= len(listen),
              "tlstunnel listens")
        self.assertIsNone(process.code(), process.output())
        ports = re.findall(r"listening on .*:(\d+)\n", process.output())
        process.port = int(ports[0]) if ports else None
        return process

    def server_options(self, leaf="good"):
        return ["-c", self.certs(f"{leaf}.pem"), "-k", self.certs(f"{leaf}.key")]

    def server(self, target, *options, leaf="good", **more):
        """A tunnel that takes TLS."""
        return self.tunnel("server", "-t", self.place(target), *self.server_options(leaf), *options, **more)

    def client(self, target, *options, **more):
        """A tunnel that makes TLS, and verifies by the tests' own root."""
        return self.tunnel("client", "-t", self.place(target), "--ca-file", self.certs.ca, "-n", NAME, *options, **more)

    @staticmethod
    def place(target):
        """A listening socket, a port or a text, as -t takes it."""
        if isinstance(target, socket.socket):
            target = target.getsockname()[1]
        return f"{LOOPBACK}:{target}" if isinstance(target, int) else str(target)

    def keep(self, sock):
        self.addCleanup(sock.close)
        return sock

    def connect(self, port, address=LOOPBACK):
        return self.keep(socket.create_connection((address, port)))

    def accept(self, listening):
        return self.keep(listening.accept()[0])

    def tls_client(self, sock, context=None, name=NAME):
        """Our end of TLS over a socket, its handshake done."""
        peer = Peer(sock.fileno(), sock.fileno(), strict(context or client_context(self.certs)), name=name)
        peer.socket = sock
        peer.handshake()
        return peer

    def tls_server(self, sock, context=None):
        peer = Peer(sock.fileno(), sock.fileno(), strict(context or server_context(self.certs)))
        peer.socket = sock
        peer.handshake()
        return peer

    def through_server(self, *options):
        """A stream through a tunnel that takes TLS: (the plain end, our end of TLS, the tunnel)."""
        target = self.keep(listener())
        tunnel = self.server(target, *options)
        peer = self.tls_client(self.connect(tunnel.port))
        return self.ping(self.accept(target), peer, tunnel)

    def through_client(self, *options):
        """The same through a tunnel that makes TLS."""
        target = self.keep(listener())
        tunnel = self.client(target, *options)
        plain = self.connect(tunnel.port)
        peer = self.tls_server(self.accept(target))
        return self.ping(plain, peer, tunnel)

    def ping(self, plain, peer, tunnel):
        plain.sendall(b"ping")
        self.assertEqual(peer.read_exactly(4), b"ping")
        peer.write(b"pong")
        self.assertEqual(receive_exactly(plain, 4), b"pong")
        return plain, peer, tunnel

    def both_ways(self):
        return self.through_server, self.through_client

    def assertReset(self, plain):
        with self.assertRaises(ConnectionResetError):
            receive_all(plain)

    def assertCut(self, peer):
        """The stream ended without a close_notify."""
        with self.assertRaises((ssl.SSLError, ConnectionResetError)) as caught:
            while peer.read():
                pass
            self.fail("there was a close_notify")
        self.assertRegex(str(caught.exception), "(?i)unexpected.eof|reset")

    def assertSaid(self, tunnel, pattern):
        """The tunnel says why, in one line with the peer in it."""
        line = rf"(?m)^tlstunnel: .*{pattern}"
        until(lambda: re.search(line, tunnel.output()), f"{pattern} in\n{tunnel.output()}")

    def assertEnds(self, process, code=0):
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), code, process.output())

    def echo_target(self):
        """A plain echo for any number of connections."""
        target = self.keep(listener())

        def serve(sock):
            with sock, contextlib.suppress(OSError):
                while part := sock.recv(1 << 16):
                    sock.sendall(part)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=[target.accept()[0]], daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        return target

    def assertServes(self, port, text=b"still there\n", context=None):
        """An echo behind a tunnel that takes TLS answers."""
        with socket.create_connection((LOOPBACK, port)) as sock:
            peer = self.tls_client(sock, context)
            peer.write(text)
            self.assertEqual(peer.read_exactly(len(text)), text)
            peer.close_notify()
            self.assertEqual(peer.read_all(), b"")


class Streams(Tunnels):
    def test_https_before_a_web_server_that_knows_none(self):
        (self.dir / "www").mkdir()
        (self.dir / "www" / "big").write_bytes(os.urandom(3 << 20))
        port = free_port()
        self.spawn(["busybox", "httpd", "-f", "-p", f"{LOOPBACK}:{port}", "-h", self.dir / "www"])
        until(lambda: listens(port), "httpd")
        tunnel = self.server(port)
        url = f"https://localhost:{tunnel.port}/big"
        self.assertRan(self.run_program(["curl", "-sSf", "--cacert", self.certs.ca, "-o", self.dir / "got", url]))
        self.assertEqual((self.dir / "got").read_bytes(), (self.dir / "www" / "big").read_bytes())

    def test_http_for_a_browser_that_knows_no_tls(self):
        (self.dir / "page").write_text("the page\n")
        tunnel = self.client(nginx(self, self.dir).port)
        done = self.run_program(["curl", "-sSf", f"http://{LOOPBACK}:{tunnel.port}/page"])
        self.assertEqual(done.stdout, "the page\n", done.stderr)

    def test_openssl_at_either_end(self):
        tunnel = self.server(self.echo_target())
        client = self.spawn(["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", self.certs.ca,
                             "-verify_hostname", NAME, "-connect", f"{LOOPBACK}:{tunnel.port}"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        client.say("hello\n")
        self.assertEqual(client.stdout.readline(), b"hello\n")
        server = s_server(self)
        with socket.create_connection((LOOPBACK, self.client(server.port).port)) as plain:
            plain.sendall(b"from the plain side\n")
            server.wait_for_output("from the plain side")
            server.say("from the other\n")
            self.assertEqual(receive_exactly(plain, 15), b"from the other\n")

    def test_redis_through_two_tunnels(self):
        if shutil.which("redis-server") is None:
            self.skipTest("no redis-server")
        where = self.dir / "redis"
        self.spawn(["redis-server", "--port", "0", "--unixsocket", where, "--dir", self.dir, "--save", ""])
        until(where.exists, "redis-server's socket")
        tunnel = self.client(self.server(where).port)
        for words, answer in ((("set", "key", "value"), "OK"), (("get", "key"), "value")):
            done = self.run_program(["redis-cli", "-p", tunnel.port, *words])
            self.assertEqual(done.stdout.strip(), answer, done.stderr)

    @concurrent
    def test_both_directions_at_once(self):
        there, back = os.urandom(scaled(8 << 20)), os.urandom(scaled(8 << 20))
        for through in self.both_ways():
            plain, peer, _ = through()

            def send(sock=plain):
                sock.sendall(there)
                sock.shutdown(socket.SHUT_WR)
            sender, got = self.background(send), self.background(receive_all, plain)
            # One thread for both would deadlock on full buffers, as any program would.
            written = self.background(lambda peer=peer: (peer.write(back), peer.close_notify()))
            written.result()
            self.assertEqual(peer.read_all(), there)
            sender.result()
            self.assertEqual(got.result(), back)

    def test_several_listeners_of_several_kinds(self):
        path = self.dir / "listener"
        tunnel = self.server(self.echo_target(), listen=(f"{LOOPBACK}:0", "[::1]:0", path, f"unix:{path}2"))
        ports = [int(port) for port in re.findall(r":(\d+)\n", tunnel.output())]
        with socket.create_connection(("::1", ports[1])) as six, socket.socket(socket.AF_UNIX) as local:
            local.connect(str(path))
            with socket.create_connection((LOOPBACK, ports[0])) as four:
                for sock in (four, six, local):
                    peer = self.tls_client(sock)
                    peer.write(b"hello")
                    self.assertEqual(peer.read_exactly(5), b"hello")
        self.assertTrue(os.path.exists(f"{path}2"))
        self.assertEnds(tunnel)
        self.assertFalse(path.exists() or os.path.exists(f"{path}2"), "its sockets are gone with it")

    def test_the_sockets_of_a_service_manager(self):
        target = self.echo_target()
        start = 'exec 3<&"$1"; shift; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
        with listener() as passed:
            tunnel = self.tunnel("server", "-t", self.place(target), *self.server_options(), listen=["systemd"],
                                 wrap=["bash", "-c", start, "bash", str(passed.fileno())], pass_fds=[passed.fileno()])
            self.assertServes(passed.getsockname()[1])
            self.assertEnds(tunnel)

    def test_unix_sockets_behind_it(self):
        path = self.dir / "target"
        with socket.socket(socket.AF_UNIX) as target:
            target.bind(str(path))
            target.listen()
            peer = self.tls_client(self.connect(self.server(path).port))
            self.ping(self.accept(target), peer, None)
            plain = self.connect(self.client(f"unix:{path}").port)
            self.ping(plain, self.tls_server(self.accept(target)), None)


class UnixSockets(Tunnels):
    """The names of Unix sockets in the file system."""

    def test_one_that_was_left_behind_is_replaced(self):
        path = self.dir / "listener"
        tunnel = self.server(self.echo_target(), listen=[path])
        tunnel.signal(signal.SIGKILL)
        tunnel.wait()
        self.assertTrue(path.is_socket())
        tunnel = self.server(self.echo_target(), listen=[path])
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            self.tls_client(sock)
        self.assertEnds(tunnel)

    def test_what_is_in_use_or_no_socket_is_not(self):
        path = self.dir / "listener"
        words = [program("tlstunnel"), "server", "-l", path, "-t", ":1", *self.server_options()]
        tunnel = self.server(self.echo_target(), listen=[path])
        done = self.run_program(words)
        self.assertEqual(done.returncode, 111)
        self.assertRegex(done.stderr, "in use")
        self.assertTrue(path.is_socket())
        self.assertEnds(tunnel)
        path.write_text("precious\n")
        self.assertEqual(self.run_program(words).returncode, 111)
        self.assertEqual(path.read_text(), "precious\n")

    def test_one_that_has_another_owner_by_now_stays(self):
        path = self.dir / "listener"
        first = self.server(self.echo_target(), listen=[path])
        path.unlink()
        second = self.server(self.echo_target(), listen=[path])
        self.assertEnds(first)
        self.assertTrue(path.is_socket())
        self.assertEnds(second)
        self.assertFalse(path.exists())

    def test_their_mode_can_be_said(self):
        for mode in ("600", "0666"):
            path = self.dir / mode
            self.server(self.echo_target(), "--socket-mode", mode, listen=[path])
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), int(mode, 8))


class Targets(Tunnels):
    def test_the_next_one_is_tried_when_one_fails(self):
        target = self.echo_target()
        tunnel = self.server(f"{LOOPBACK}:1", "-t", "/nonexistent", "-t", self.place(target))
        for _ in range(2):
            self.assertServes(tunnel.port)
        self.assertSaid(tunnel, f"{LOOPBACK}:1: Connection refused; trying the next")
        self.assertSaid(tunnel, "/nonexistent: No such file or directory; trying the next")

    def test_the_first_one_is_preferred_unless_they_take_turns(self):
        first, second = self.keep(listener()), self.keep(listener())
        for options, order in (((), [first, first]), (["--round-robin"], [first, second, first])):
            tunnel = self.server(first, "-t", self.place(second), *options)
            for number, expected in enumerate(order):
                peer = self.tls_client(self.connect(tunnel.port))
                self.ping(self.accept(expected), peer, number)

    def test_none_that_answers_is_no_empty_answer(self):
        tunnel = self.server(f"{LOOPBACK}:1")
        self.assertCut(self.tls_client(self.connect(tunnel.port)))
        self.assertSaid(tunnel, rf"{LOOPBACK}:\d+: {LOOPBACK}:1: Connection refused")
        tunnel = self.client(f"{LOOPBACK}:1", "-t", "no-such-host.invalid:1")
        self.assertReset(self.connect(tunnel.port))
        self.assertSaid(tunnel, rf"{LOOPBACK}:\d+: no-such-host.invalid:1: ")


class Trust(Tunnels):
    def assertRefused(self, tunnel, reason):
        plain = self.connect(tunnel.port)
        self.assertReset(plain)
        self.assertSaid(tunnel, rf"{LOOPBACK}:\d+: localhost:\d+: .*{reason}")

    def to_server(self, server, *options):
        """A tunnel without any of the trust that tests otherwise have."""
        return self.tunnel("client", "-t", f"localhost:{server.port}", *options)

    def test_another_name_or_issuer_is_refused_and_the_plain_side_reset(self):
        ca = ["--ca-file", self.certs.ca]
        self.assertRefused(self.to_server(s_server(self, leaf="second"), *ca), "name|localhost")
        self.assertRefused(self.to_server(s_server(self, leaf="stranger"), *ca), "issuer")
        self.assertRefused(self.to_server(s_server(self, leaf="expired"), *ca), "expired")
        good = s_server(self)
        self.assertRefused(self.to_server(good), "issuer|certificate")
        self.assertRefused(self.to_server(good, *ca, "-n", "other.test"), "name|other.test")
        self.assertRefused(self.to_server(good, "-p", self.certs.pin("rsa")), "pin|certificate")

    def test_a_pin_is_trusted_and_anybody_where_that_was_asked_for(self):
        stranger = s_server(self, leaf="stranger")
        for options in (["-p", self.certs.pin("stranger")], ["-p", self.certs.pin("stranger", "spki")], ["--insecure"]):
            with socket.create_connection((LOOPBACK, self.to_server(stranger, *options).port)) as plain:
                plain.sendall(" ".join(options).encode() + b"\n")
                stranger.wait_for_output(" ".join(options))

    def test_client_certificates_are_demanded_and_shown(self):
        target = self.echo_target()
        for demand in (["-a", self.certs.ca], ["-p", self.certs.pin("client")]):
            server = self.server(target, *demand)
            shown = ["-c", self.certs("client.pem"), "-k", self.certs("client.key")]
            plain = self.connect(self.client(server.port, *shown).port)
            plain.sendall(b"known")
            self.assertEqual(receive_exactly(plain, 5), b"known")
            stranger = ["-c", self.certs("stranger.pem"), "-k", self.certs("stranger.key")]
            for others in ((), stranger):
                plain = self.connect(self.client(server.port, *others).port)
                with self.assertRaises(ConnectionResetError):  # the write may meet it, and the read then does not
                    with contextlib.suppress(BrokenPipeError):
                        plain.sendall(b"unknown")
                    receive_all(plain)
            self.assertSaid(server, rf"{LOOPBACK}:\d+: .*certificate")

    def test_alpn_and_versions_are_as_asked(self):
        server = self.server(self.echo_target(), "--alpn", "one,two", "--tls-max", "1.2")
        peer = self.tls_client(self.connect(server.port), client_context(self.certs, alpn=["two"]))
        self.assertEqual((peer.tls.selected_alpn_protocol(), peer.tls.version()), ("two", "TLSv1.2"))


class Endings(Tunnels):
    """How one side's end becomes the other's."""

    def test_the_plain_side_ends_first_and_the_rest_still_arrives(self):
        for through in self.both_ways():
            plain, peer, _ = through()
            plain.sendall(b"question")
            plain.shutdown(socket.SHUT_WR)
            self.assertEqual(peer.read_all(), b"question")
            peer.write(b"answer" * 100_000)
            peer.close_notify()
            self.assertEqual(receive_all(plain), b"answer" * 100_000)

    def test_the_tls_side_ends_first_and_the_rest_still_arrives(self):
        for through in self.both_ways():
            plain, peer, _ = through()
            peer.write(b"question")
            peer.close_notify()
            self.assertEqual(receive_all(plain), b"question")
            plain.sendall(b"answer" * 100_000)
            plain.shutdown(socket.SHUT_WR)
            self.assertEqual(peer.read_all(), b"answer" * 100_000)

    def test_a_stream_cut_short_is_a_reset(self):
        for through in self.both_ways():
            plain, peer, tunnel = through()
            peer.write(b"half of it")
            self.assertEqual(receive_exactly(plain, 10), b"half of it")
            peer.socket.close()
            self.assertReset(plain)
            self.assertSaid(tunnel, rf"{LOOPBACK}:\d+: .*without close_notify")

    def test_a_reset_by_the_tls_peer_is_a_reset(self):
        for through in self.both_ways():
            plain, peer, tunnel = through()
            reset(peer.socket)
            self.assertReset(plain)
            self.assertSaid(tunnel, rf"{LOOPBACK}:\d+: .*Connection reset by peer")

    def test_a_reset_is_no_close_notify(self):
        for through in self.both_ways():
            plain, peer, tunnel = through()
            reset(plain)
            self.assertCut(peer)
            self.assertSaid(tunnel, rf"{LOOPBACK}:\d+: plain side: reset")

    def test_a_reset_that_our_sending_meets_first_is_none_either(self):
        """A socket tells of a reset once, and shows an end to whoever asks after that."""
        for through in self.both_ways():
            for _ in range(10):
                plain, peer, tunnel = through()
                for _ in range(50):  # on its way while the reset comes
                    peer.write(bytes(10_000))
                reset(plain)
                self.assertCut(peer)

    def test_a_reset_while_the_peer_takes_nothing_ends_the_tunnel_all_the_same(self):
        for through in self.both_ways():
            plain, peer, tunnel = through()
            plain.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    plain.send(bytes(1 << 16))
            until(lambda: not self.takes_more(plain), "all buffers are full")
            reset(peer.socket)
            plain.setblocking(True)
            self.assertReset(plain)

    @staticmethod
    def takes_more(plain):
        with contextlib.suppress(BlockingIOError):
            plain.send(bytes(1 << 16))
            return True
        return False

    def test_what_the_plain_side_does_not_take_ends_the_stream(self):
        for through in self.both_ways():
            plain, peer, tunnel = through()
            plain.close()
            with self.assertRaises((OSError, ssl.SSLError, EOFError)):
                while True:
                    peer.send(peer.sealed(bytes(1 << 14)))
            self.assertSaid(tunnel, rf"{LOOPBACK}:\d+: plain side: ")

    @concurrent
    def test_one_that_is_idle_is_ended_when_that_was_asked_for(self):
        for through in self.both_ways():
            plain, peer, tunnel = through("--idle", "0.5")
            self.assertReset(plain)
            self.assertCut(peer)
            self.assertSaid(tunnel, rf"{LOOPBACK}:\d+: nothing moved")

    def test_one_that_is_idle_and_half_closed_or_stuck_is_ended_too(self):
        plain, peer, tunnel = self.through_server("--idle", "0.5")
        plain.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.read_all(), b"")
        self.assertReset(plain)
        plain, peer, tunnel = self.through_server("--idle", "0.5")
        with self.assertRaises(OSError):
            while True:
                plain.sendall(bytes(1 << 16))
        self.assertSaid(tunnel, "nothing moved")


class Crowds(Tunnels):
    def test_a_limit_and_who_is_beyond_it_waits(self):
        target = self.keep(listener())
        tunnel = self.server(target, "-C", "2")
        inside = [self.tls_client(self.connect(tunnel.port)) for _ in range(2)]
        plain = [self.accept(target) for _ in inside]
        third = self.connect(tunnel.port)
        waiting = self.background(self.tls_client, third)
        self.ping(plain[1], inside[1], tunnel)
        self.assertEqual(len(self.tlsfs.numbers()), 2)
        self.assertTrue(waiting.running)
        inside[0].close_notify()
        plain[0].close()
        peer = waiting.result()
        self.ping(self.accept(target), peer, tunnel)

    def test_silent_peers_hold_up_nobody_and_are_ended(self):
        tunnel = self.server(self.echo_target(), "-w", "2")
        silent = [self.connect(tunnel.port) for _ in range(20)]
        self.assertServes(tunnel.port)
        for sock in silent:
            with contextlib.suppress(ConnectionResetError):
                receive_all(sock)
        self.assertSaid(tunnel, r"\d+: .*timeout")

    def test_a_slow_peer_holds_up_nobody(self):
        target = self.echo_target()
        tunnel = self.server(target)
        slow = self.tls_client(self.connect(tunnel.port))
        slow.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                slow.send(slow.sealed(bytes(1 << 14)))
        for _ in range(3):
            self.assertServes(tunnel.port)

    @concurrent
    def test_hundreds_at_once_leave_nothing_behind(self):
        count = scaled(400)
        tunnel = self.server(self.echo_target())
        self.assertServes(tunnel.port)
        self.tlsfs.wait_until_empty()
        # One, and a sanitizer's.
        idle, before = settles(lambda: (threads(tunnel.pid), descriptors(tunnel.pid)))
        context = client_context(self.certs)
        peers = [self.tls_client(self.connect(tunnel.port), context) for _ in range(count)]
        for number, peer in enumerate(peers):
            peer.write(b"%5d" % number)
        # The companion carries them: what is ours is one socket each.
        until(lambda: (threads(tunnel.pid), descriptors(tunnel.pid)) == (idle, before + count), "a descriptor for each")
        for number, peer in enumerate(peers):
            self.assertEqual(peer.read_exactly(5), b"%5d" % number)
        for peer in peers[::2]:
            peer.close_notify()
            self.assertEqual(peer.read_all(), b"")
        for peer in peers[1::2]:
            peer.socket.close()
        until(lambda: (threads(tunnel.pid), descriptors(tunnel.pid)) == (idle, before), "all is given back")
        self.tlsfs.wait_until_empty()
        self.assertEqual(tunnel.output().count("without close_notify"), count // 2, "cut streams are said, others are not")


class Service(Tunnels):
    """Signals, and what a service manager hears."""

    def place_files(self, leaf):
        """Certificate and key under names of their own, put there at once each, as who renews them does."""
        for kind in ("pem", "key"):
            fresh = self.dir / f"fresh.{kind}"
            fresh.write_bytes(self.certs.text(f"{leaf}.{kind}"))
            fresh.rename(self.dir / f"tunnel.{kind}")

    def serial(self, port):
        with socket.create_connection((LOOPBACK, port)) as sock:
            return self.tls_client(sock).tls.getpeercert()["serialNumber"]

    def test_sighup_takes_a_new_certificate_and_refuses_a_bad_one(self):
        self.place_files("good")
        tunnel = self.tunnel("server", "-t", self.place(self.echo_target()), "-c", self.dir / "tunnel.pem", "-k",
                             self.dir / "tunnel.key")
        running = self.tls_client(self.connect(tunnel.port))
        old = self.serial(tunnel.port)
        self.place_files("rsa")
        self.assertEqual(self.serial(tunnel.port), old, "nothing is taken before it was tried")
        tunnel.signal(signal.SIGHUP)
        tunnel.wait_for_output("tlstunnel: reloaded")
        new = self.serial(tunnel.port)
        self.assertNotEqual(new, old)
        bad = ((b"rubbish", "tunnel.pem"), (self.certs.text("good.pem"), "does not fit"), (None, "No such file"))
        for number, (text, reason) in enumerate(bad):
            fresh = self.dir / "fresh"
            if text is None:
                (self.dir / "tunnel.pem").unlink()
            else:
                fresh.write_bytes(text)
                fresh.rename(self.dir / "tunnel.pem")
            tunnel.signal(signal.SIGHUP)
            until(lambda n=number: tunnel.output().count("not reloaded") == n + 1, "the bad one is reported")
            self.assertRegex(tunnel.output(), f"not reloaded, .*: .*{reason}")
            self.assertEqual(self.serial(tunnel.port), new, "what was good goes on")
        running.write(b"as before")
        self.assertEqual(running.read_exactly(9), b"as before")

    def test_sigterm_lets_connections_finish_and_takes_no_more(self):
        for through in self.both_ways():
            plain, peer, tunnel = through()
            tunnel.signal(signal.SIGTERM)
            tunnel.wait_for_output("stopping")
            until(lambda: not listens(tunnel.port), "it does not listen any more")
            self.ping(plain, peer, tunnel)
            self.assertIsNone(tunnel.code())
            plain.shutdown(socket.SHUT_WR)
            self.assertEqual(peer.read_all(), b"")
            peer.close_notify()
            self.assertEqual(receive_all(plain), b"")
            self.assertEqual(tunnel.wait(), 0)

    @concurrent
    def test_those_that_do_not_finish_are_cut(self):
        for end in ("grace", "a second signal"):
            for through in self.both_ways():
                plain, peer, tunnel = through("--grace", "0.3" if end == "grace" else "1000")
                tunnel.signal(signal.SIGTERM)
                tunnel.wait_for_output("stopping")
                if end != "grace":
                    self.ping(plain, peer, tunnel)
                    tunnel.signal(signal.SIGINT)
                self.assertEqual(tunnel.wait(), 0, tunnel.output())
                self.assertCut(peer)
                self.assertReset(plain)

    def test_connections_outlive_a_tunnel_that_leaves_or_is_killed(self):
        for number in (signal.SIGUSR1, signal.SIGKILL):
            for through in self.both_ways():
                plain, peer, tunnel = self.ping(*through())  # so it has handed it over
                tunnel.signal(number)
                self.assertEqual(tunnel.wait(), 0 if number == signal.SIGUSR1 else -number)
                self.ping(plain, peer, tunnel)
                plain.shutdown(socket.SHUT_WR)
                self.assertEqual(peer.read_all(), b"")

    def test_a_handshake_that_never_ends_does_not_keep_it(self):
        tunnel = self.server(self.echo_target(), "--grace", "0", "-w", "1000")
        silent = self.connect(tunnel.port)
        self.assertServes(tunnel.port)
        self.assertEnds(tunnel)
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(receive_all(silent), b"")

    def test_a_service_manager_is_told(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(self.dir / "notify"))
            manager.settimeout(TIMEOUT)
            tunnel = self.server(self.echo_target(), environment={"NOTIFY_SOCKET": str(self.dir / "notify")})
            self.assertEqual(manager.recv(1000), b"READY=1")
            tunnel.signal(signal.SIGHUP)
            self.assertRegex(manager.recv(1000), rb"^RELOADING=1\nMONOTONIC_USEC=\d+$")
            self.assertEqual(manager.recv(1000), b"READY=1")
            self.assertEnds(tunnel)
            self.assertEqual(manager.recv(1000), b"STOPPING=1")

    def test_the_companion_may_die_and_come_back(self):
        tunnel = self.server(self.echo_target())
        self.assertServes(tunnel.port)
        target = self.keep(listener())
        cut = self.server(target)
        peer = self.tls_client(self.connect(cut.port))
        plain, _, _ = self.ping(self.accept(target), peer, cut)
        self.tlsfs.signal(signal.SIGKILL)
        self.tlsfs.process.wait()
        self.assertReset(plain)
        until(lambda: not is_mounted(self.tlsfs.path), "the dead mount is removed")
        with socket.create_connection((LOOPBACK, tunnel.port)) as sock:
            self.assertRaises((OSError, ssl.SSLError), self.tls_client, sock)
        self.assertSaid(tunnel, r"\d+: .*tlsfs|mount")
        self.tlsfs.clean_up()
        self.tlsfs = self.mount(path=self.tlsfs.path)
        self.assertServes(tunnel.port)

    def test_a_companion_is_started_where_there_is_none(self):
        runtime = self.dir / "runtime"
        runtime.mkdir(mode=0o700)
        tunnel = self.server(self.echo_target(), environment={
            "TLSFS": "", "XDG_RUNTIME_DIR": str(runtime), "TLSFS_PROGRAM": program("tlsfs"), "TLSFS_AUTOSTART": ""})
        self.addCleanup(subprocess.run, ["umount", "-l", str(runtime / "tls")], stderr=subprocess.DEVNULL)
        self.assertServes(tunnel.port)

    @needs_root
    def test_its_memory_never_holds_the_key(self):
        traces = traces_of(self.certs("rsa.key"))
        target = self.keep(listener())
        tunnel = self.server(target, leaf="rsa")
        peer = self.tls_client(self.connect(tunnel.port))
        self.ping(self.accept(target), peer, tunnel)
        tunnel.signal(signal.SIGHUP)
        tunnel.wait_for_output("reloaded")
        self.connect(tunnel.port)  # a handshake that goes on for now
        until(lambda: memory_has(self.tlsfs.pid, traces), "the scan finds it where it is in use")
        self.assertEqual(memory_has(tunnel.pid, traces), set())

    def test_one_line_a_connection_when_asked_and_none_otherwise(self):
        target = self.echo_target()
        for options, lines in (((), 1), (["-v"], 2)):
            tunnel = self.server(target, *options)
            self.assertServes(tunnel.port)
            self.assertEnds(tunnel)
            # The thread of the connection may still be ending when the signal comes.
            said = [line for line in tunnel.output().splitlines() if "stopping" not in line]
            self.assertEqual(len(said), lines, said)
        self.assertRegex(said[1], rf"^tlstunnel: {LOOPBACK}:\d+: to {self.place(target)}, TLSv1.3 ")

    def test_usage_and_exit_codes(self):
        good = ["-l", ":0", "-t", "localhost:1"]
        server = ["server", *good, *self.server_options()]
        for words in ((), ["relay"], ["client"], ["client", "-l", ":0"], ["server", *good], ["client", *good, "word"],
                      ["client", "-l", "nowhere", "-t", "localhost:1"], ["client", "-l", ":0", "-t", "nowhere"],
                      ["client", *good, "--insecure", "-p", "sha256:00"], ["client", *good, "--proxy-v2"],
                      ["client", "-l", ":0", "-t", "/path"], [*server, "-C", "0"], [*server, "--socket-mode", "999"],
                      [*server, "--idle", "-1"], [*server, "--starttls", "ftp"], [*server, "--engine", "kernel"],
                      [*server, "--tls-min", "1.3", "--tls-max", "1.2"]):
            done = self.run_program([program("tlstunnel"), *words])
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (100, 1), f"{words}: {done.stderr}")
        missing = ["server", *good, "-c", "/nonexistent.pem", "-k", self.certs("good.key")]
        mismatch = ["server", *good, "-c", self.certs("good.pem"), "-k", self.certs("rsa.key")]
        port = self.keep(listener()).getsockname()[1]
        in_use = ["server", "-l", f"{LOOPBACK}:{port}", "-t", ":1", *self.server_options()]
        for code, words, reason in ((111, missing, "nonexistent.pem"), (98, mismatch, "cannot serve"),
                                    (111, in_use, "in use"), (98, ["client", *good, "--ca-file", __file__], "test_17")):
            done = self.run_program([program("tlstunnel"), *words])
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (code, 1), f"{words}: {done.stderr}")
            self.assertRegex(done.stderr, reason)
        for words in (["--help"], ["server", "--help"], ["--version"]):
            self.assertRan(self.run_program([program("tlstunnel"), *words]))


class StartTls(Tunnels):
    """--starttls: what is said before TLS begins."""

    GREETINGS = {"smtp": b"220 target ESMTP\r\n", "imap": b"* OK target\r\n", "pop3": b"+OK target\r\n"}

    # What a server says before TLS, and what it hears.
    SERVERS = {
        "smtp": ((b"220 mx\r\n", b"EHLO localhost\r\n"), (b"250-mx\r\n250 STARTTLS\r\n", b"STARTTLS\r\n"),
                 (b"220 go\r\n", b"")),
        "imap": ((b"* OK\r\n", b"a STARTTLS\r\n"), (b"a OK\r\n", b"")),
        "pop3": ((b"+OK\r\n", b"STLS\r\n"), (b"+OK\r\n", b"")),
        "postgres": ((b"", bytes.fromhex("0000000804d2162f")), (b"S", b"")),
        "ldap": ((b"", bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"),
                 (bytes.fromhex("300c02010178070a010004000400"), b"")),
    }

    def test_openssl_begins_tls_with_each_protocol(self):
        for protocol in self.SERVERS:
            target = self.keep(listener())
            tunnel = self.server(target, "--starttls", protocol)
            client = self.spawn(["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", self.certs.ca,
                                 "-starttls", protocol, "-connect", f"{LOOPBACK}:{tunnel.port}"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            plain = self.accept(target)
            plain.sendall(self.GREETINGS.get(protocol, b""))
            client.say(f"{protocol} asks\n")
            self.assertEqual(receive_exactly(plain, len(protocol) + 6), f"{protocol} asks\n".encode())
            plain.sendall(b"an answer\n")
            until(lambda c=client: c.stdout.readline() == b"an answer\n", "the answer, and no second greeting")

    def test_a_client_speaks_to_a_server_of_each_protocol(self):
        for protocol, turns in self.SERVERS.items():
            target = self.keep(listener())
            tunnel = self.client(target, "--starttls", protocol)
            plain = self.connect(tunnel.port)
            sock = self.accept(target)
            for said, heard in turns:
                sock.sendall(said)
                self.assertEqual(receive_exactly(sock, len(heard)), heard)
            peer = self.tls_server(sock)
            if protocol in self.GREETINGS:
                greeting = plain.recv(100)
                self.assertEqual(greeting.split()[0], self.GREETINGS[protocol].split()[0])
            self.ping(plain, peer, tunnel)

    def test_what_comes_too_early_is_refused_on_either_side(self):
        target = self.keep(listener())
        tunnel = self.server(target, "--starttls", "smtp")
        sock = self.connect(tunnel.port)
        sock.sendall(b"EHLO me\r\nSTARTTLS\r\nRSET\r\n")
        with contextlib.suppress(ConnectionResetError):
            self.assertNotIn(b"220 Ready", receive_all(sock))
        self.assertSaid(tunnel, "STARTTLS smtp: bytes came before TLS began")
        tunnel = self.client(target, "--starttls", "pop3")
        plain = self.connect(tunnel.port)
        self.accept(target).sendall(b"+OK\r\n+OK\r\n")
        self.assertReset(plain)
        self.assertSaid(tunnel, "STARTTLS pop3: bytes came too early")

    def test_a_peer_that_says_nothing_and_a_server_without_it(self):
        target = self.keep(listener())
        tunnel = self.client(target, "--starttls", "smtp", "-w", "0.3")
        plain = self.connect(tunnel.port)
        self.assertReset(plain)
        self.assertSaid(tunnel, "STARTTLS: timeout")
        tunnel = self.client(target, "--starttls", "postgres")
        plain = self.connect(tunnel.port)
        self.accept(target)  # of the first
        self.accept(target).sendall(b"N")
        self.assertReset(plain)
        self.assertSaid(tunnel, "STARTTLS postgres: the answer is 'N'")


class ProxyProtocol(Tunnels):
    """--proxy-v2 and --accept-proxy-v2."""

    def introduction(self, *options, listen=(f"{LOOPBACK}:0",), context=None, connect=None):
        """(what the target was told, our address)"""
        target = self.keep(listener())
        tunnel = self.server(target, "--proxy-v2", *options, listen=listen)
        sock = connect() if connect else self.connect(tunnel.port)
        peer = self.tls_client(sock, context)
        plain = self.accept(target)
        told = proxy.receive(plain)
        self.ping(plain, peer, tunnel)
        return told, sock.getsockname(), tunnel

    def test_the_target_is_told_who_the_peer_is(self):
        told, ours, tunnel = self.introduction()
        self.assertEqual((told["family"], told["source"], told["destination"]), (0x11, ours, (LOOPBACK, tunnel.port)))
        self.assertEqual((told["authority"], told["alpn"]), (NAME, ""))
        cipher = told["tls"].pop("cipher")
        self.assertTrue(cipher.startswith("TLS_"), cipher)
        self.assertEqual(told["tls"], {"client": 1, "verify": 1, "version": "TLSv1.3"})

    def test_and_what_certificate_it_has(self):
        told, *_ = self.introduction("-a", self.certs.ca, "--alpn", "imap,smtp",
                                     context=client_context(self.certs, leaf="client", alpn=["smtp"]))
        self.assertEqual((told["tls"]["client"], told["tls"]["verify"], told["tls"]["cn"], told["alpn"]),
                         (7, 0, "client", "smtp"))

    def test_addresses_of_all_families(self):
        port = free_port()
        six = lambda: self.keep(socket.create_connection(("::1", port)))  # noqa: E731
        told, ours, _ = self.introduction(listen=[f"[::1]:{port}"], connect=six)
        self.assertEqual((told["family"], told["source"], told["destination"]), (0x21, ours[:2], ("::1", port)))
        port = free_port()
        told, ours, _ = self.introduction(listen=[f":{port}"], connect=lambda: self.connect(port))
        self.assertEqual((told["family"], told["source"]), (0x11, ours), "IPv4 at a socket for both is IPv4")
        path = str(self.dir / "listener")

        def local():
            sock = self.keep(socket.socket(socket.AF_UNIX))
            sock.connect(path)
            return sock
        told, *_ = self.introduction(listen=[path], connect=local)
        self.assertEqual((told["family"], told["source"], told["destination"]), (0x31, b"", path))

    def test_nginx_understands_it(self):
        port = free_port()
        place = "location /who { return 200 $proxy_protocol_addr:$proxy_protocol_port; }"
        nginx(self, self.dir, extra=f"listen {LOOPBACK}:{port} proxy_protocol; {place}")
        tunnel = self.server(port, "--proxy-v2")
        done = self.run_program(["curl", "-sSf", "--cacert", self.certs.ca, "-w", " %{local_ip}:%{local_port}",
                                 f"https://localhost:{tunnel.port}/who"])
        self.assertRan(done)
        told, ours = done.stdout.split()
        self.assertEqual(told, ours)

    def test_haproxy_understands_it(self):
        if shutil.which("haproxy") is None:
            self.skipTest("no haproxy")
        port, config = free_port(), self.dir / "haproxy.cfg"
        said = "%[src]:%[src_port] %[fc_pp_authority]"
        config.write_text(HAPROXY.format(port=port, said=said))
        process = self.spawn(["haproxy", "-f", config])
        until(lambda: process.code() is not None or listens(port), "haproxy listens")
        tunnel = self.server(port, "--proxy-v2")
        done = self.run_program(["curl", "-sSf", "--cacert", self.certs.ca, "-w", " %{local_ip}:%{local_port}",
                                 f"https://localhost:{tunnel.port}/"])
        self.assertRan(done)
        told, authority, ours = done.stdout.split()
        self.assertEqual((told, authority), (ours, "localhost"))

    def test_a_header_before_the_handshake_is_taken_and_passed_on(self):
        target = self.keep(listener())
        tunnel = self.server(target, "--accept-proxy-v2", "--proxy-v2", "-v")
        sock = self.connect(tunnel.port)
        whole = proxy.tcp4(("192.0.2.1", 1234), ("198.51.100.7", 443))
        for at in range(len(whole)):  # in the smallest pieces that there are
            sock.sendall(whole[at:at + 1])
        peer = self.tls_client(sock)
        plain = self.accept(target)
        told = proxy.receive(plain)
        self.assertEqual((told["source"], told["destination"]), (("192.0.2.1", 1234), ("198.51.100.7", 443)))
        self.ping(plain, peer, tunnel)
        self.assertSaid(tunnel, rf"192.0.2.1:1234 by way of {LOOPBACK}:\d+: ")

    def test_a_header_that_tells_nothing_leaves_the_connections_own_addresses(self):
        target = self.keep(listener())
        tunnel = self.server(target, "--accept-proxy-v2", "--proxy-v2")
        for command, family in ((0, 0x00), (0, 0x11), (1, 0x00)):
            sock = self.connect(tunnel.port)
            sock.sendall(proxy.header(family, bytes(12) if family else b"", command=command))
            self.tls_client(sock)
            self.assertEqual(proxy.receive(self.accept(target))["source"], sock.getsockname())

    def test_what_is_no_header_is_refused(self):
        target = self.keep(listener())
        tunnel = self.server(target, "--accept-proxy-v2", "-w", "5")
        good = proxy.tcp4(("192.0.2.1", 1234), ("198.51.100.7", 443))
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)
        bad = [hello, b"PROXY TCP4 192.0.2.1 198.51.100.7 1234 443\r\n", b"GET / HTTP/1.0\r\n\r\n", good[:-1], b"", good[:5],
               good[:12] + b"\x11" + good[13:], good[:13] + b"\x12" + good[14:], good[:14] + b"\xff\xff" + bytes(65535),
               proxy.header(0x11, bytes(12), b"\x01\x00\x05x"), proxy.header(0x21, bytes(35))]
        for number, header in enumerate(bad):
            with self.connect(tunnel.port) as sock:
                with contextlib.suppress(OSError):
                    sock.sendall(header)
                    sock.shutdown(socket.SHUT_WR)
                    self.assertEqual(receive_all(sock), b"")
            until(lambda n=number: tunnel.output().count("PROXY header") == n + 1, f"{header[:40]!r} is refused")
        target.settimeout(0)
        self.assertRaises(BlockingIOError, target.accept)
        target.settimeout(None)
        sock = self.connect(tunnel.port)
        sock.sendall(good)
        self.ping(self.accept_after(target, sock), self.peer_made, tunnel)

    def accept_after(self, target, sock):
        self.peer_made = self.tls_client(sock)
        return self.accept(target)
