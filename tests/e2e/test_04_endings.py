# SPDX-License-Identifier: MIT
"""Point 4: every way in which a stream can end is told apart, and half-close works."""

import errno
import os
import select
import signal
import socket
import ssl
import subprocess
import threading
import time

from harness import TIMEOUT, Case, concurrent, file_only, not_over, over_all_plain_sides, program
from harness.certs import NAME
from harness.device import read_all, write_all
from harness.engine import engine
from harness.peers import VERSIONS, client_context, linger_not, reset, server_context, silent, tcp_pair, unix_pair
from harness.servers import free_port
from harness.wait import until

MEGABYTE = 1 << 20


@over_all_plain_sides
class FromThePeer(Case):
    """What the peer does, and what read and status say."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def with_each_version(self, script):
        """A connection of either version and either role to a peer that runs `script`: (connection, data, peer)."""
        for name, version in VERSIONS.items():
            for role in ("client", "server"):
                print(f"{name}, as {role}")
                if role == "client":
                    context = server_context(self.certs, version=version)
                    connection, peer = self.connect(self.tlsfs, script, context=context)
                else:
                    context = client_context(self.certs, version=version)
                    connection, peer = self.accept(self.tlsfs, script, context=context)
                self.assertEqual(connection.status()["Version"], name)
                yield connection, connection.data(), peer

    def test_close_notify_reads_as_zero_and_keeps_doing_so(self):
        def script(peer):
            peer.write(b"all")
            peer.close_notify()
            return peer.read_all()
        for connection, data, peer in self.with_each_version(script):
            self.assertEqual([os.read(data, 100) for _ in range(3)], [b"all", b"", b""])
            self.assertEqual(connection.status()["State"], "RemoteClosed")
            os.write(data, b"our half goes on")
            connection.close()
            self.assertEqual(peer.result(), b"our half goes on")

    def test_a_bare_fin_is_econnreset(self):
        for connection, data, peer in self.with_each_version(lambda peer: peer.write(b"cut sh")):
            self.assertEqual(os.read(data, 100), b"cut sh")
            self.assertBroken(errno.ECONNRESET, os.read, data, 100)
            status = connection.status()
            self.assertEqual(status["State"], "Error")
            self.assertRegex(status["Error"], "close_notify|transport")

    def test_a_reset_is_econnreset(self):
        def resetting(peer):
            # SO_LINGER with 0 seconds makes the last close send a RST.
            with socket.socket(fileno=os.dup(peer.incoming)) as copy:
                linger_not(copy)
            peer.write(b"x")
            peer.read(1)
        for connection, data, peer in self.with_each_version(resetting):
            self.assertEqual(os.read(data, 100), b"x")
            os.write(data, b"y")
            self.assertBroken(errno.ECONNRESET, os.read, data, 100)
            self.assertEqual(connection.status()["State"], "Error")
            peer.result()

    def test_a_waiting_reader_learns_of_the_end(self):
        for ending, expected in (("close_notify", b""), ("fin", errno.ECONNRESET)):
            with self.subTest(ending):
                def script(peer):
                    select.select([], [], [], 0.3)
                    if ending == "close_notify":
                        peer.close_notify()
                connection, _ = self.connect(self.tlsfs, script)
                waits = self.background(os.read, connection.data(), 100)
                if expected == b"":
                    self.assertEqual(waits.result(), b"")
                else:
                    self.assertBroken(expected, waits.result)
                self.assertEqual(connection.status()["State"], "RemoteClosed" if expected == b"" else "Error")

    def test_a_corrupted_record_is_ebadmsg_and_the_peer_gets_an_alert(self):
        def script(peer):
            peer.write(b"good")
            record = bytearray(peer.sealed(b"to be corrupted"))
            record[-1] ^= 1
            peer.send(record)
            try:
                peer.read_all()
            except ssl.SSLError as error:
                return error.reason
            return "nothing"
        for connection, data, peer in self.with_each_version(script):
            self.assertEqual(os.read(data, 100), b"good")
            self.assertBroken(errno.EBADMSG, os.read, data, 100)
            self.assertEqual(connection.status()["State"], "Error")
            self.assertEqual(peer.result(), "SSLV3_ALERT_BAD_RECORD_MAC")
            self.assertRaises(OSError, os.write, data, b"x")

    def test_what_is_no_tls_at_all_is_eproto(self):
        def script(peer):
            peer.send(b"HTTP/1.0 400 this is no TLS record\r\n\r\n")
            silent(peer)
        for connection, data, _ in self.with_each_version(script):
            self.assertBroken((errno.EPROTO, errno.EBADMSG), os.read, data, 100)
            self.assertEqual(connection.status()["State"], "Error")

    def test_a_fatal_alert_is_eproto_and_status_names_it(self):
        def script(peer):
            # What we send arrives corrupted, so that the peer's TLS itself says the alert.
            peer.mangle = lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])
            mangles.release()
            try:
                peer.read()
            except ssl.SSLError:
                return
            raise AssertionError("no error")
        mangles = threading.Semaphore(0)  # else the peer may have it together with the end of the handshake
        for connection, data, peer in self.with_each_version(script):
            self.assertTrue(mangles.acquire(timeout=TIMEOUT))
            told = False
            try:
                os.write(data, b"arrives corrupted")
            except OSError as error:  # our tickets were corrupted already, and the alert is here
                self.assertIn(error.errno, self.plain_side.writes(errno.EPROTO))
                told = True
            self.assertBroken(errno.EPROTO, os.read, data, 100, told=told)
            peer.result()
            status = connection.status()
            self.assertEqual(status["State"], "Error")
            self.assertRegex(status["Error"], r"bad[ _]record[ _]mac")

    @not_over("given", why="a socketpair cannot be reset; only `status` tells")
    def test_a_truncated_stream_does_not_look_complete_to_cat(self):
        connection, _ = self.connect(self.tlsfs, lambda peer: peer.write(b"half of it"))
        done = self.run_program(["cat"], stdin=connection.data())
        self.assertEqual(done.stdout, "half of it")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Connection reset by peer", done.stderr)
        whole, _ = self.connect(self.tlsfs, lambda peer: (peer.write(b"all of it"), peer.close_notify()))
        self.assertRan(self.run_program(["cat"], stdin=whole.data()))


@over_all_plain_sides
class FromUs(Case):
    """What we do, and what the peer sees of it."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def test_the_last_close_sends_close_notify_and_ends_the_transport(self):
        for pair in (tcp_pair, unix_pair):
            def script(peer):
                got = peer.read_all()  # raises when there is no close_notify
                peer.close_notify()
                return got, os.read(peer.incoming, 100)
            connection, peer = self.connect(self.tlsfs, script, pair=pair)
            os.write(connection.data(), b"last words")
            connection.close()
            self.assertEqual(peer.result(), (b"last words", b""))
        self.tlsfs.wait_until_empty()

    def test_not_the_first_close_but_the_last_one_ends_it(self):
        connection, peer = self.connect(self.tlsfs)
        first, second = connection.data(), connection.data()
        connection.drop(first)
        connection.drop(connection.ctl)
        os.write(second, b"still")
        self.assertEqual(os.read(second, 100), b"still")
        self.assertTrue(peer.running)
        connection.drop(second)
        self.assertEqual(peer.result(), 5)

    def test_a_killed_holder_is_a_last_close_too(self):
        connection, peer = self.connect(self.tlsfs)
        holder = self.spawn(["cat"], stdin=connection.data())
        connection.close()
        select.select([], [], [], 0.3)
        self.assertTrue(peer.running, "cat still holds it")
        holder.signal(signal.SIGKILL)
        holder.wait()
        self.assertEqual(peer.result(), 0)
        self.tlsfs.wait_until_empty()

    @concurrent
    def test_what_was_written_before_the_last_close_arrives_whole(self):
        def script(peer):
            select.select([], [], [], 0.5)
            return len(peer.read_all())
        connection, peer = self.connect(self.tlsfs, script)
        size = 8 * MEGABYTE
        done = self.background(write_all, connection.data(), bytes(size))
        done.result()
        connection.close()
        self.assertEqual(peer.result(), size)

    def test_a_last_write_that_no_buffer_holds_arrives_although_the_writer_is_gone(self):
        def small_pair():
            ours, theirs = unix_pair()
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            return ours, theirs

        def script(peer):
            self.assertTrue(gone.wait(TIMEOUT))
            return len(peer.read_all())  # with close_notify behind it

        gone = threading.Event()
        connection, peer = self.connect(self.tlsfs, script, pair=small_pair)
        data = connection.data()
        os.set_blocking(data, False)
        size = os.write(data, bytes(MEGABYTE))
        self.assertGreater(size, 4096)
        connection.close()
        gone.set()
        self.assertEqual(peer.result(), size)
        for pair in (small_pair, tcp_pair):
            gone.clear()
            connection, peer = self.connect(self.tlsfs, script, pair=pair)
            self.spawn(["sh", "-c", "head -c 1000000 /dev/zero | dd bs=1M iflag=fullblock status=none"],
                       stdout=connection.data())
            connection.close()
            gone.set()
            self.assertEqual(peer.result(), 1000000)

    def test_what_the_peer_sent_and_nobody_read_destroys_nothing_on_its_way(self):
        """Closing a TCP socket that holds unread bytes, such as tickets, would reset it and drop what is under way."""
        def pair():
            ours, theirs = tcp_pair()
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            return ours, theirs

        def script(peer):
            closed.wait()
            select.select([], [], [], 0.5)
            return len(peer.read_all())
        closed = threading.Event()
        connection, peer = self.connect(self.tlsfs, script, pair=pair,
                                        context=server_context(self.certs, version=VERSIONS["TLSv1.3"], tickets=10))
        size = 300_000
        write_all(connection.data(), bytes(size))
        connection.close()
        closed.set()
        self.assertEqual(peer.result(), size)

    @file_only("nobody asks for the plaintext")
    def test_another_holder_of_the_transport_may_go_on_with_it(self):
        ours, theirs = unix_pair()
        tls_is_over = threading.Event()  # what comes with the last record, the peer's TLS would swallow
        def script(peer):
            peer.read_all()
            peer.close_notify()
            tls_is_over.set()
            heard = os.read(peer.incoming, 100)
            os.write(peer.outgoing, b"plain too")
            return heard
        peer = self.peer(theirs, server_context(self.certs), script)
        connection = self.tlsfs.connection()
        connection.put("ca", self.certs.text("ca.pem"))
        connection.say(f"fd {ours.fileno()}", f"client {NAME}")
        connection.close()
        self.tlsfs.wait_until_empty()
        self.assertTrue(tls_is_over.wait(TIMEOUT))
        with ours:
            ours.settimeout(30)
            ours.sendall(b"plain again")
            self.assertEqual(peer.result(), b"plain again")
            got = b""  # the peer's close_notify may stand before it, or have been taken by the companion
            while not got.endswith(b"plain too"):
                more = ours.recv(1000)
                self.assertNotEqual(more, b"", "the transport is open")
                got += more

    def test_hangup_ends_it_at_once(self):
        def script(peer):
            try:
                return peer.read_all()
            except (ssl.SSLError, ConnectionError):
                return "ended"
        connection, peer = self.connect(self.tlsfs, script)
        data = connection.data()
        waits = self.background(os.read, data, 100)
        select.select([], [], [], 0.2)
        self.assertTrue(waits.running)
        connection.say("hangup")
        try:
            self.assertEqual(waits.result(), b"")
        except OSError:
            pass
        self.assertIn(peer.result(), ("ended", b""))
        self.assertEqual(connection.status()["State"], "Closed")
        self.assertRaises(OSError, os.write, data, b"x")
        self.assertRaises(OSError, self.plain_side.ask, connection)

    @file_only("there is no plaintext")
    def test_hangup_before_the_handshake_is_no_harm(self):
        connection = self.tlsfs.connection()
        connection.say("hangup")
        self.assertEqual(connection.status()["State"], "Closed")
        self.assertErrno(errno.EBUSY, connection.say, "timeout 3")


@over_all_plain_sides
class HalfClose(Case):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    @staticmethod
    def late_answer(peer):
        """Reads to the client's end, waits a second and a half, and answers a megabyte."""
        question = peer.read_all()
        time.sleep(1.5)
        peer.write(bytes(MEGABYTE))
        peer.close_notify()
        return question

    def test_after_close_a_late_megabyte_arrives_whole(self):
        asked = []
        for name, version in VERSIONS.items():
            for way, end, refusal in self.plain_side.ends():
                print(f"{name}, {way}")
                connection, peer = self.connect(self.tlsfs, self.late_answer,
                                                context=server_context(self.certs, version=version))
                data = connection.data()
                os.write(data, b"question")
                end(connection, data)
                self.assertEqual(connection.status()["State"], "LocalClosed")
                if refusal:
                    self.assertErrno(tuple(refusal), os.write, data, b"too late")
                asked.append((connection, data, peer))
        for connection, data, peer in asked:
            self.assertEqual(read_all(data), bytes(MEGABYTE))
            self.assertEqual(peer.result(), b"question")
            self.assertEqual(connection.status()["State"], "Closed")

    def test_what_is_written_too_late_costs_the_program_nothing(self):
        """Bytes behind the end of our half are not sent, and do not make a reset of the other half's end."""
        def script(peer):
            question = peer.read_all()
            late.wait(TIMEOUT)
            peer.write(b"answer")
            peer.close_notify()
            return question
        late = threading.Event()
        connection, peer = self.connect(self.tlsfs, script)
        data = connection.data()
        os.write(data, b"question")
        connection.say("close")
        until(lambda: connection.status()["State"] == "LocalClosed", "our half is over")
        time.sleep(0.2)
        self.plain_side.writes_in_vain(data, b"too late")
        late.set()
        self.assertEqual(peer.result(), b"question")
        if engine.tells_before_reading:
            until(lambda: connection.status()["State"] == "Closed", "both halves are over")
            time.sleep(0.2)
        self.assertEqual(read_all(data), b"answer")

    def test_who_reads_late_gets_everything(self):
        """Both halves have ended, and most of the answer is still on its way to the program."""
        def script(peer):
            peer.read_all()
            peer.write(bytes(MEGABYTE))
            peer.close_notify()
        for way, end, _ in self.plain_side.ends():
            print(way)
            connection, peer = self.connect(self.tlsfs, script)
            data = connection.data()
            end(connection, data)
            peer.result()
            select.select([], [], [], 0.3)
            self.assertEqual(read_all(data), bytes(MEGABYTE))
            self.assertEqual(os.read(data, 100), b"")

    def test_a_server_may_close_its_half_first(self):
        connection, peer = self.accept(self.tlsfs, self.late_answer)
        connection.say("close")
        self.assertEqual(read_all(connection.data()), bytes(MEGABYTE))
        self.assertEqual(peer.result(), b"")

    @file_only("the program chooses its plain side by itself")
    def test_tlsclient_relays_a_late_megabyte_after_its_input_ended(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)

            def accept():
                theirs, _ = listener.accept()
                return self.peer(theirs, server_context(self.certs), self.late_answer).result()
            peer = self.background(accept)
            done = subprocess.run(
                [program("tlsclient"), "-c", self.certs.ca, f"localhost:{listener.getsockname()[1]}"], input=b"question",
                capture_output=True, timeout=60, env={**os.environ, "TLSFS": str(self.tlsfs.path)})
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(len(done.stdout), MEGABYTE)
        self.assertEqual(peer.result(), b"question")

    @file_only("nobody asks for the plaintext")
    def test_close_twice_and_close_too_early_are_refused(self):
        fresh = self.tlsfs.connection()
        self.assertErrno(errno.ENOTCONN, fresh.say, "close")
        connection, _ = self.connect(self.tlsfs, silent)
        connection.say("close")
        self.assertErrno(errno.EBUSY, connection.say, "close")

    def test_a_program_that_writes_after_close_ends(self):
        for way, end, refusal in self.plain_side.ends():
            if refusal:
                print(way)
                connection, _ = self.connect(self.tlsfs, silent)
                data = connection.data()
                end(connection, data)
                writer = self.spawn(["cat", "/dev/zero"], stdout=data)
                self.assertNotEqual(writer.wait(), 0)


class Handshakes(Case):
    """A handshake that fails: the errno of `client`, then of opening `data`, and the connection's State and Error."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def assertFails(self, code, script, *lines, text="", verb=f"client {NAME}"):
        ours, theirs = tcp_pair()
        peer = self.background(script, theirs)
        connection = self.tlsfs.connection()
        with ours:
            connection.put("ca", self.certs.text("ca.pem"))
            if verb == "server":
                connection.put("cert", self.certs.text("good.pem"))
                connection.put("key", self.certs.text("good.key"))
            connection.say(f"fd {ours.fileno()}", *lines)
            self.assertErrno(code, connection.say, verb)
        status = connection.status()
        self.assertEqual(status["State"], "Error")
        self.assertRegex(status["Error"], text or ".")
        self.assertErrno(code, connection.data)
        self.assertErrno(errno.EBUSY, connection.say, verb)
        theirs.close()
        return peer

    def test_a_peer_that_goes_away_is_econnreset(self):
        self.assertFails(errno.ECONNRESET, lambda sock: (sock.recv(10000), sock.close()))
        self.assertFails(errno.ECONNRESET, lambda sock: (sock.recv(10000), reset(sock)))

    def test_a_peer_that_speaks_no_tls_is_eproto(self):
        def speak(sock):
            sock.recv(10000)
            sock.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n" * 10)
        self.assertFails(errno.EPROTO, speak)
        self.assertFails(errno.EPROTO, lambda sock: sock.sendall(b"GET / HTTP/1.0\r\n\r\n" * 10), verb="server")

    def test_a_silent_peer_is_etimedout(self):
        self.assertFails(errno.ETIMEDOUT, lambda sock: None, "timeout 1")
        self.assertFails(errno.ETIMEDOUT, lambda sock: None, "timeout 1", verb="server")

    def test_a_peer_that_trickles_is_etimedout_too(self):
        def trickle(sock):
            try:
                sock.recv(10000)
                for byte in b"\x16\x03\x03\x40\x00" + bytes(100):
                    sock.sendall(bytes([byte]))
                    time.sleep(0.2)
            except OSError:
                pass
        self.assertFails(errno.ETIMEDOUT, trickle, "timeout 1")

    def test_an_alert_is_eproto_and_is_named(self):
        def refuse(sock):
            sock.recv(10000)
            sock.sendall(b"\x15\x03\x03\x00\x02\x02\x28")
        self.assertFails(errno.EPROTO, refuse, text="handshake[ _]failure")

    def test_no_common_version_is_eproto_on_both_sides(self):
        def old(sock):
            context = server_context(self.certs, version=VERSIONS["TLSv1.2"])
            with self.assertRaises(ssl.SSLError):
                context.wrap_socket(sock, server_side=True)

        def old_client(sock):
            context = client_context(self.certs, version=VERSIONS["TLSv1.2"])
            with self.assertRaises(ssl.SSLError):
                context.wrap_socket(sock, server_hostname=NAME)
        self.assertFails(errno.EPROTO, old, "version 1.3", text="version").result()
        self.assertFails(errno.EPROTO, old_client, "version 1.3", verb="server").result()

    def test_no_common_protocol_is_eproto(self):
        def http(sock):
            context = client_context(self.certs, alpn=["h2", "http/1.1"])
            with self.assertRaises(ssl.SSLError):
                context.wrap_socket(sock, server_hostname=NAME)
                raise AssertionError("accepted")
        self.assertFails(errno.EPROTO, http, "alpn imap", verb="server").result()

    def test_a_refused_dial_says_so_and_names_the_cause(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound, and nobody listens
            connection = self.tlsfs.connection()
            connection.put("ca", self.certs.text("ca.pem"))
            port = unused.getsockname()[1]
            with self.assertRaises(ConnectionRefusedError):
                connection.say(f"dial 127.0.0.1:{port}", f"client {NAME}")
        self.assertIn("refused", connection.status()["Error"].lower())
        missing = self.tlsfs.connection()
        self.assertErrno(errno.ENOENT, missing.say, "dial /nonexistent/socket")


class Background(Case):
    """On an O_NONBLOCK `ctl` a line that would wait goes on in the background."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def start(self, script):
        ours, theirs = tcp_pair()
        self.background(script, theirs)
        self.keep = theirs
        connection = self.tlsfs.connection(os.O_NONBLOCK)
        with ours:
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(f"fd {ours.fileno()}")
        poll = select.poll()
        poll.register(connection.ctl, select.POLLIN)
        self.assertErrno(errno.EINPROGRESS, connection.say, f"client {NAME}")
        return connection, poll

    def test_poll_tells_when_the_handshake_is_done(self):
        def late(sock):
            time.sleep(0.5)
            with server_context(self.certs).wrap_socket(sock, server_side=True) as tls:
                tls.sendall(b"hello")
                seen.wait(TIMEOUT)
        seen = threading.Event()
        self.addCleanup(seen.set)
        connection, poll = self.start(late)
        self.assertEqual(connection.status()["State"], "Handshaking")
        self.assertErrno(errno.ENOTCONN, connection.data)
        self.assertEqual(poll.poll(0), [])
        [(_, events)] = poll.poll(30000)
        self.assertEqual(events & (select.POLLIN | select.POLLERR), select.POLLIN)
        self.assertEngine(connection)
        self.assertEqual(os.read(connection.data(), 100), b"hello")

    def test_poll_tells_when_the_handshake_has_failed(self):
        def late(sock):
            time.sleep(0.5)
            sock.recv(10000)
            sock.sendall(b"\x15\x03\x03\x00\x02\x02\x28")
        connection, poll = self.start(late)
        self.assertEqual(poll.poll(0), [])
        [(_, events)] = poll.poll(30000)
        self.assertEqual(events & (select.POLLIN | select.POLLERR), select.POLLIN | select.POLLERR)
        self.assertErrno(errno.EPROTO, connection.data)
        self.assertEqual(connection.status()["State"], "Error")

    def test_lines_behind_are_done_in_the_background_too(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            connection = self.tlsfs.connection(os.O_NONBLOCK)
            connection.put("ca", self.certs.text("ca.pem"))
            self.assertErrno(errno.EINPROGRESS, connection.say, f"dial localhost:{listener.getsockname()[1]}", "client")
            theirs, _ = listener.accept()
            poll = select.poll()
            poll.register(connection.ctl, select.POLLIN)
            self.assertEqual(poll.poll(300), [], "neither while it dials, nor until the handshake is over")
            peer = self.peer(theirs, server_context(self.certs), lambda peer: peer.read_all())
            [(_, events)] = poll.poll(30000)
            self.assertEqual(events & (select.POLLIN | select.POLLERR), select.POLLIN)
            self.assertEqual(connection.status()["State"], "Established")
            connection.close()
            self.assertEqual(peer.result(), b"")

    def test_a_dial_that_fails_in_the_background_is_said_and_can_be_bettered(self):
        connection = self.tlsfs.connection(os.O_NONBLOCK)
        poll = select.poll()
        poll.register(connection.ctl, select.POLLIN)
        self.assertErrno(errno.EINPROGRESS, connection.say, f"dial localhost:{free_port()}", "client")
        [(_, events)] = poll.poll(30000)
        self.assertEqual(events & (select.POLLIN | select.POLLERR), select.POLLIN | select.POLLERR)
        self.assertErrno(errno.ECONNREFUSED, connection.data)
        connection.say("version 1.3")
        [(_, events)] = poll.poll(30000)
        self.assertEqual(events & (select.POLLIN | select.POLLERR), select.POLLIN)
        self.assertErrno(errno.ENOTCONN, connection.data)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.assertErrno(errno.EINPROGRESS, connection.say, f"dial localhost:{listener.getsockname()[1]}")
            [(_, events)] = poll.poll(30000)
            self.assertEqual(events & (select.POLLIN | select.POLLERR), select.POLLIN, "dialled, and no more")
            self.assertErrno(errno.ENOTCONN, connection.data)

    def test_a_signal_ends_the_wait_and_not_the_handshake(self):
        class Alarm(Exception):
            pass

        def ring(*_):
            raise Alarm
        ours, theirs = tcp_pair()
        connection = self.tlsfs.connection()
        with ours:
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(f"fd {ours.fileno()}")
            signal.signal(signal.SIGALRM, ring)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            self.assertRaises(Alarm, connection.say, f"client {NAME}")
        self.assertEqual(connection.status()["State"], "Handshaking")
        peer = self.peer(theirs, server_context(self.certs), lambda peer: peer.read_all())
        until(lambda: connection.status()["State"] == "Established", "the handshake")
        connection.close()
        peer.result()

    def test_a_program_that_waits_for_its_handshake_can_be_killed(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number.name):
                ours, theirs = tcp_pair()
                with ours, theirs:
                    script = f"exec 99<>$TLSFS/clone; echo 'fd {ours.fileno()}' >&99; echo 'client {NAME}' >&99"
                    shell = self.spawn(["bash", "-euc", script], environment={"TLSFS": str(self.tlsfs.path)},
                                       pass_fds=[ours.fileno()])
                    self.assertNotEqual(theirs.recv(1), b"", "the ClientHello")
                    shell.signal(number)
                    self.assertEqual(shell.wait(10), -number)
        self.tlsfs.wait_until_empty()
