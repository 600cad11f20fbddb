# SPDX-License-Identifier: MIT
"""Point 18: one socket is enough: a connection is one message and one answer, and its plaintext a socket like any other."""

import errno
import os
import signal
import socket
import subprocess
import sys

from harness import needs_root
from harness.attach import SAY, AttachCase, file_of
from harness.certs import NAME
from harness.device import fields
from harness.peers import Peer, client_context, echo, server_context, silent, tcp_pair
from harness.wait import until


class Opening(AttachCase):
    def setUp(self):
        super().setUp()
        self.serve()

    def test_a_connection_is_one_message_and_one_answer(self):
        guest, _, data, peer, names = self.open()
        self.assertEqual((data.getsockname(), data.getpeername()), names)
        data.sendall(b"hello")
        self.assertEqual(data.recv(5, socket.MSG_WAITALL), b"hello")
        data.shutdown(socket.SHUT_WR)
        self.assertEqual(data.recv(5), b"")
        self.assertEqual(peer.result(), 5)
        data.close()
        self.assertEqual(guest.states()[-1], "Closed")
        self.tlsfs.wait_until_empty()

    def test_the_number_that_is_told_is_the_trees(self):
        guest, number, *_ = self.open()
        self.assertEqual(self.tlsfs.numbers(), [number])
        status = fields((self.tlsfs.path / str(number) / "status").read_text())
        self.assertEqual(status, fields(guest.ask(f"status {number}").partition("\n")[2]))

    def test_a_server_has_its_certificate_and_key_from_descriptors(self):
        ours, theirs = tcp_pair()
        peer = self.peer(theirs, client_context(self.certs), lambda peer: (peer.write(b"hello"), echo(peer)), name=NAME)
        with ours:
            guest = self.guest()
            _, status, data = guest.open("fd", "cert", "key", "server",
                                         descriptors=[ours, self.pem("good.pem"), self.pem("good.key")])
        with data:
            self.assertEqual(status["Role"], "server")
            self.assertEqual(data.recv(5, socket.MSG_WAITALL), b"hello")
            data.shutdown(socket.SHUT_WR)
            peer.result()

    def test_transports_that_are_no_tcp_have_addresses_of_the_loopback(self):
        _, _, data, peer, _ = self.open(pair=socket.socketpair)
        self.assertEqual(data.getpeername()[0], "127.0.0.1")
        data.sendall(b"hello")
        data.shutdown(socket.SHUT_WR)
        self.assertEqual(data.recv(9, socket.MSG_WAITALL), b"hello")
        self.assertEqual(peer.result(), 5)

    def test_a_pair_of_pipes_is_two_descriptors(self):
        (to_peer, our_out), (our_in, from_peer) = os.pipe(), os.pipe()
        peer = self.background(self.echo_over, to_peer, from_peer)
        guest = self.guest()
        _, _, data = guest.open("ca", "fd - -", f"client {NAME}", descriptors=[self.pem("ca.pem"), our_in, our_out])
        os.close(our_in)
        os.close(our_out)
        with data:
            data.sendall(b"hello")
            data.shutdown(socket.SHUT_WR)
            self.assertEqual(data.recv(9, socket.MSG_WAITALL), b"hello")
        self.assertEqual(peer.result(), 5)

    def echo_over(self, incoming, outgoing):
        peer = Peer(incoming, outgoing, server_context(self.certs))
        peer.handshake()
        total = echo(peer)
        os.close(outgoing)
        os.close(incoming)
        return total

    def test_failures_are_told_with_their_cause(self):
        guest = self.guest()
        cases = ((["verify maybe"], [], "EINVAL"), (["client a.test"], [], "ENOTCONN"), (["fd 0"], [], "EINVAL"),
                 (["ca"], [file_of(b"garbage")], "EINVAL"), (["cert"], [file_of(b"x" * ((1 << 20) + 1))], "EFBIG"),
                 (["fd", "client a.test"], [file_of(b"no stream")], "EOPNOTSUPP"))
        for lines, descriptors, code in cases:
            with self.subTest(lines=lines):
                with self.assertRaisesRegex(OSError, f"^{code} ."):
                    guest.open(*lines, descriptors=descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
        ours, peer = self.facing(silent)
        with self.assertRaisesRegex(OSError, "^EKEYREJECTED|^ENOKEY|^EACCES|^EPROTO"):
            guest.open("fd", f"client {NAME}", descriptors=[ours])  # not the system's certificates
        ours.close()
        self.assertTrue(self.refuses_or_ends(peer))
        self.tlsfs.wait_until_empty()

    @staticmethod
    def refuses_or_ends(peer):
        try:
            peer.result()
        except Exception:  # the alert
            pass
        return True

    def test_it_can_be_polled_and_given_up(self):
        ours, theirs = tcp_pair()
        with theirs:
            guest = self.guest()
            with ours:
                guest.say("open\nfd\nverify none\nclient\n", ours)
            self.assertTrue(theirs.recv(9000))  # the hello
            self.assertTrue(guest.quiet())
            self.assertEqual(len(self.tlsfs.numbers()), 1)
            guest.close()
            self.tlsfs.wait_until_empty()
            theirs.settimeout(30)
            while theirs.recv(9000):
                pass

    def test_nobody_waits_for_a_descriptor_with_pem_that_has_no_end(self):
        incoming, outgoing = os.pipe()
        guests = [self.guest() for _ in range(50)]
        for guest in guests:
            guest.say("open bare\nca\n", incoming)
        os.close(incoming)
        self.open()  # others are served
        for guest in guests:
            guest.close()
        self.assertEqual(until(lambda: self.closed_pipe(outgoing), "the pipe is closed"), True)
        os.close(outgoing)

    @staticmethod
    def closed_pipe(outgoing):
        try:
            os.write(outgoing, b"x")
        except BrokenPipeError:
            return True
        return False

    def test_dial_is_for_ones_own_companion_only(self):
        guest = self.guest()
        with self.assertRaisesRegex(OSError, "^EPERM dial in your own process"):
            guest.open("dial 127.0.0.1:1", "client a.test")

    def test_a_thousand_at_a_time(self):
        opened = [self.open() for _ in range(int(os.environ.get("E2E_GUESTS", "100")))]
        for _, _, data, _, names in opened:
            self.assertEqual((data.getsockname(), data.getpeername()), names)
            data.sendall(b"x")
        for _, _, data, _, _ in opened:
            self.assertEqual(data.recv(1), b"x")
            data.close()
        self.tlsfs.wait_until_empty()


class Living(AttachCase):
    def setUp(self):
        super().setUp()
        self.serve()

    def test_it_lives_as_long_as_its_data_socket(self):
        guest, number, data, peer, _ = self.open()
        guest.close()
        data.sendall(b"x")
        self.assertEqual(data.recv(1), b"x")
        again = data.dup()
        data.close()
        self.assertEqual(self.tlsfs.numbers(), [number])
        again.close()
        self.assertEqual(peer.result(), 1)  # close_notify
        self.tlsfs.wait_until_empty()

    def test_changes_are_told_and_the_end(self):
        def script(peer):
            peer.write(b"last")
            peer.close_notify()
            return peer.read_all()
        guest, _, data, peer, _ = self.open(script)
        self.assertEqual(fields(guest.hear()[0].partition("\n")[2])["State"], "RemoteClosed")
        self.assertEqual(data.recv(9, socket.MSG_WAITALL), b"last")
        data.sendall(b"mine")
        data.close()
        self.assertEqual(peer.result(), b"mine")
        self.assertEqual(guest.states()[-1], "Closed")

    def test_a_stream_that_is_cut_short_is_a_reset_and_its_cause_is_told(self):
        def script(peer):
            peer.read_exactly(1)  # else the answer to open may come after the end
            peer.write(b"cut short")
        guest, _, data, peer, _ = self.open(script)
        data.sendall(b"x")
        peer.result()
        text, _ = guest.hear()
        status = fields(text.partition("\n")[2])
        self.assertEqual(status["State"], "Error")
        self.assertTrue(status["Error"])
        self.assertEqual(data.recv(9, socket.MSG_WAITALL), b"cut short")
        self.assertErrno(errno.ECONNRESET, data.recv, 1)

    def test_a_companion_that_dies_is_a_reset_and_no_end(self):
        _, _, data, _, _ = self.open()
        data.sendall(b"x")
        self.assertEqual(data.recv(1), b"x")
        self.tlsfs.ended = True
        self.addCleanup(self.tlsfs.clean_up)
        self.tlsfs.process.signal(signal.SIGKILL)
        self.tlsfs.process.wait()
        self.assertErrno(errno.ECONNRESET, data.recv, 1)

    def test_a_guest_that_reads_nothing_is_waited_for_by_nobody(self):
        guest, number, data, peer, _ = self.open()
        data.sendall(b"x")
        data.shutdown(socket.SHUT_WR)
        self.assertEqual(data.recv(9, socket.MSG_WAITALL), b"x")
        self.assertEqual(peer.result(), 1)
        data.close()
        self.tlsfs.wait_until_empty()
        self.assertEqual(guest.states()[-1], "Closed")

    def test_a_bare_connection_is_completed_step_by_step(self):
        guest = self.guest()
        ours, peer = self.facing()
        number, status, data = guest.open("ca", descriptors=[self.pem("ca.pem")], bare=True)
        self.assertIsNone(data)
        self.assertNotEqual(status["State"], "Established")
        self.assertEqual(guest.ask(f"fd {number}", ours), "ok")
        ours.close()
        self.assertRegex(guest.ask(f"socket {number}"), "^ENOTCONN .")
        self.assertEqual(guest.ask(f"ctl {number}\nclient {NAME}\n"), "ok")
        guest.say(f"socket {number}")
        answer, [data] = guest.hear()
        self.assertEqual(answer, "ok")
        self.assertRegex(guest.ask(f"socket {number}"), "^EBUSY .")
        data.sendall(b"x")
        self.assertEqual(data.recv(1), b"x")
        data.close()
        self.assertEqual(peer.result(), 1)
        guest.states()
        self.tlsfs.wait_until_empty()

    def test_a_descriptor_of_ones_own_can_be_the_plain_side(self):
        plain, far = socket.socketpair()
        ours, peer = self.facing()
        guest = self.guest()
        _, _, data = guest.open("ca", "plain", "fd", f"client {NAME}", descriptors=[self.pem("ca.pem"), plain, ours])
        self.assertIsNone(data)
        plain.close()
        ours.close()
        with far:
            far.sendall(b"hello")
            self.assertEqual(far.recv(5, socket.MSG_WAITALL), b"hello")
            far.shutdown(socket.SHUT_WR)
            self.assertEqual(far.recv(5), b"")
        self.assertEqual(peer.result(), 5)
        self.tlsfs.wait_until_empty()

    def test_plain_can_come_after_the_handshake(self):
        plain, far = tcp_pair()
        ours, peer = self.facing()
        guest = self.guest()
        number, _, _ = guest.open("ca", "fd", f"client {NAME}", descriptors=[self.pem("ca.pem"), ours], bare=True)
        ours.close()
        self.assertEqual(guest.ask(f"ctl {number}\nplain -\n", plain), "ok")
        plain.close()
        with far:
            far.sendall(b"hello")
            self.assertEqual(far.recv(5, socket.MSG_WAITALL), b"hello")
        self.assertEqual(peer.result(), 5)
        guest.states()
        self.tlsfs.wait_until_empty()

    def test_ctl_ends_it(self):
        _, number, data, peer, _ = self.open()
        guest = self.guest()
        self.assertEqual(guest.ask(f"ctl {number}\nclose\n"), "ok")
        self.assertEqual(peer.result(), 0)
        self.assertEqual(data.recv(1), b"")
        _, number, data, _, _ = self.open()
        self.assertEqual(guest.ask(f"ctl {number}\nhangup\n"), "ok")
        self.assertErrno(errno.ECONNRESET, data.recv, 1)


class Messages(AttachCase):
    def setUp(self):
        super().setUp()
        self.serve()

    def test_the_small_files_are_told(self):
        guest, number, data, *_ = self.open()
        data.sendall(b"x")
        self.assertEqual(data.recv(1), b"x")  # behind the session tickets, which are counted too
        self.assertEqual(guest.ask("list"), f"ok\n{number}\n")
        for name in ("ciphers", "engines"):
            self.assertEqual(guest.ask(name), f"ok\n{self.tlsfs.read(name)}")
        for name in ("status", "stats", "peer"):
            self.assertEqual(guest.ask(f"{name} {number}"), f"ok\n{(self.tlsfs.path / str(number) / name).read_text()}")
            self.assertRegex(guest.ask(f"{name} 99"), "^ENOENT .")

    def test_bad_messages_are_answered_in_order_and_harm_nobody(self):
        guest = self.guest()
        ours, theirs = socket.socketpair()
        bad = ((b"", ()), (b"what", ()), (b"list\0", ()), (b"list", (ours,)), (b"open\nfd\n", ()), (b"open\nfd 0\n", (ours,)),
               (b"open\nfd\n", (ours,) * 2), (b"open bare\n" + b"ca\n" * 9, (ours,) * 9), (b"x" * 16385, ()),
               (b"list", (ours,) * 250), (b"status", ()), (b"status 1 2", ()), (b"open\n\xff\xff\n", ()), (b"\n" * 1000, ()))
        for message, descriptors in bad:
            guest.say(message, *descriptors)
        guest.say("list")
        for message, _ in bad:
            with self.subTest(message[:20]):
                self.assertRegex(guest.hear()[0], "^EINVAL .")
        self.assertEqual(guest.hear()[0], "ok\n")
        ours.close()
        theirs.settimeout(30)
        self.assertEqual(theirs.recv(1), b"")  # no copy of it is left
        theirs.close()
        self.tlsfs.wait_until_empty()

    def test_one_that_reads_no_answers_is_dropped(self):
        slow = self.guest()
        slow.socket.setblocking(False)

        def dropped():
            try:
                for _ in range(1000):
                    slow.socket.send(b"ciphers")
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False
        until(dropped, "the guest that reads nothing is dropped")
        self.assertEqual(self.guest().ask("list"), "ok\n")

    def test_closing_what_lingers_keeps_nobody(self):
        """A socket with SO_LINGER and a peer that does not read: close(2) waits for an hour."""
        ours, theirs = tcp_pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\x10\x0e\0\0")
        ours.setblocking(False)
        try:
            while True:
                ours.send(b"x" * 65536)
        except BlockingIOError:
            pass
        guests, dead = ([self.guest() for _ in range(8)] for _ in range(2))
        self.tlsfs.signal(signal.SIGSTOP)  # so that the last copies are the companion's
        for guest in guests:
            guest.say("list", ours)
        for guest in dead:
            guest.say("list", ours)
            guest.say("list", ours)
            guest.close()
        ours.close()
        self.tlsfs.signal(signal.SIGCONT)
        for guest in guests:
            self.assertRegex(guest.hear()[0], "^EINVAL .")
        self.open()
        theirs.close()


class Owners(AttachCase):
    def say_as(self, user, *messages):
        done = self.run_program([sys.executable, "-c", SAY, str(self.path), *messages], user=user)
        self.assertRan(done)
        return done.stdout.split()

    @needs_root
    def test_others_find_nothing(self):
        self.serve()
        _, number, *_ = self.open()
        first, _ = self.users()
        said = self.say_as(first, "list", *(f"{verb} {number}" for verb in ("status", "stats", "peer", "socket")),
                           f"ctl {number}\nhangup")
        self.assertEqual(said, ["ok", *["ENOENT"] * 5])

    @needs_root
    def test_root_sees_the_small_files_of_all_and_may_hang_up(self):
        self.serve()
        first, _ = self.users()
        holder = self.spawn([sys.executable, "-c", SAY + "sys.stdin.read()", str(self.path), "open bare"],
                            user=first, stdin=subprocess.PIPE)
        [number] = until(self.tlsfs.numbers, "the user's connection")
        guest = self.guest()
        self.assertEqual(guest.ask("list"), f"ok\n{number}\n")
        self.assertRegex(guest.ask(f"status {number}"), "^ok\n")
        self.assertRegex(guest.ask(f"socket {number}"), "^EPERM .")
        self.assertRegex(guest.ask(f"ctl {number}\nverify none\n"), "^EPERM .")
        with open("/dev/null", "rb") as file:
            self.assertRegex(guest.ask(f"fd {number}", file), "^EPERM .")
        self.assertEqual(guest.ask(f"ctl {number}\nhangup\n"), "ok")
        holder.stdin.close()
        self.tlsfs.wait_until_empty()

    @needs_root
    def test_a_private_companion_serves_its_user_only(self):
        first, _ = self.users()
        self.serve(user=first)
        self.assertEqual(self.say_as(first, "list", "open bare"), ["ok", "ok"])

    @needs_root
    def test_too_many_guests_of_one_user_keep_nobody_else(self):
        self.serve()
        guests = []
        for _ in range(1024):
            guest = self.guest()
            self.assertEqual(guest.ask("list"), "ok\n")
            guests.append(guest)
        self.assertRegex(self.guest().hear()[0], "^EMFILE .")
        self.assertEqual(self.say_as(self.users()[0], "list"), ["ok"])
        guests.pop().close()
        until(lambda: self.answers(), "a place that is free again")

    def answers(self):
        guest = self.guest()
        try:
            return guest.ask("list") == "ok\n"
        except BrokenPipeError:
            return False
