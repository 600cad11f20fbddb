# SPDX-License-Identifier: MIT
"""Point 19: a companion needs no mount: `tlsfs --no-mount SOCKET` is all of it."""

import signal
import socket
import sys

from harness import needs_root, program
from harness.attach import SAY, AttachCase
from harness.certs import NAME
from harness.peers import echo, server_context
from harness.process import Process
from harness.wait import until


class WithoutMount(AttachCase):
    def serve(self, *options, user=None):
        self.path = self.dir / "there" / "socket"
        if not self.path.parent.exists():
            self.path.parent.mkdir(mode=0o755)
            if user is not None:
                user.own(self.path.parent)
        self.process = Process(self, [program("tlsfs"), "-f", *options, "--no-mount", self.path], user=user)
        self.addCleanup(self.process.kill_group)
        until(lambda: self.process.code() is not None or self.answers(), "the socket")
        self.assertIsNone(self.process.code(), self.process.output())

    def answers(self):
        try:
            self.guest().ask("list")
            return True
        except OSError:
            return False

    def stop(self):
        self.process.signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(), 0, self.process.output())
        self.assertFalse(self.path.exists())

    def test_a_socket_is_enough(self):
        self.serve("--private")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        guest, number, data, peer, names = self.open()
        self.assertEqual(data.getpeername(), names[1])
        data.sendall(b"hello")
        self.assertEqual(data.recv(5, socket.MSG_WAITALL), b"hello")
        self.assertEqual(guest.ask("list"), f"ok\n{number}\n")
        self.assertRegex(guest.ask("engines"), "^ok\nuser openssl")
        data.close()
        self.assertEqual(peer.result(), 5)
        self.stop()

    def test_it_dials_for_its_own_user(self):
        self.serve("--private")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            guest = self.guest()
            guest.say(f"open\nca\ndial 127.0.0.1:{listener.getsockname()[1]}\nclient {NAME}\n", self.pem("ca.pem"))
            theirs, _ = listener.accept()
            peer = self.peer(theirs, server_context(self.certs), echo)
            _, _, data = guest.opened()
        data.close()
        self.assertEqual(peer.result(), 0)
        self.stop()

    def test_what_a_dead_companion_left_is_replaced_and_what_lives_is_not(self):
        self.serve("--private")
        second = self.spawn([program("tlsfs"), "-f", "--private", "--no-mount", self.path])
        self.assertNotEqual(second.wait(), 0)
        self.assertIn("served already", second.output())
        self.process.signal(signal.SIGKILL)
        self.process.wait()
        self.assertTrue(self.path.exists())
        self.serve("--private")
        self.stop()
        self.path.write_text("a file")
        third = self.spawn([program("tlsfs"), "-f", "--private", "--no-mount", self.path])
        self.assertNotEqual(third.wait(), 0)
        self.assertEqual(self.path.read_text(), "a file")

    @needs_root
    def test_an_ordinary_user_has_one_and_it_serves_nobody_else(self):
        first, _ = self.users()
        self.serve(user=first)
        guest = self.guest()  # root may connect, and is not served
        self.assertRegex(guest.hear()[0], "^EPERM .")

    @needs_root
    def test_roots_is_for_all(self):
        self.serve()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o666)
        done = self.run_program([sys.executable, "-c", SAY, str(self.path), "list", "open bare"], user=self.users()[0])
        self.assertRan(done)
        self.assertEqual(done.stdout, "ok\nok\n")
        self.stop()
