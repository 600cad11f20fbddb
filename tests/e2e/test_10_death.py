# SPDX-License-Identifier: MIT
"""Point 10: when the companion dies or the mount goes, everybody who waits is told, and the next start works."""

import os
import random
import select
import signal
import socket
import subprocess
import threading
import time
import unittest

from harness import TIMEOUT, Case, concurrent, engine, needs_root, program
from harness.bulk import echo_server
from harness.certs import NAME
from harness.device import read_all, write_all
from harness.mount import is_mounted
from harness.peers import tcp_pair
from harness.processes import descendants, state
from harness.wait import settles, until


class Waiters:
    """Programs that wait in every way there is."""

    def __init__(self, case, mount):
        self.case, self.mount = case, mount
        self.processes, self.kept = [], []
        self.over = threading.Event()
        case.addCleanup(self.over.set)

    def silent(self, _):
        """What the peers do."""
        self.over.wait()

    def start(self):
        case, mount = self.case, self.mount
        connection, _ = case.connect(mount, self.silent)
        data = connection.data()
        self.processes.append(case.spawn(["cat"], stdin=data))
        self.processes.append(case.spawn(["cat"], stdin=connection.data()))
        writers = [case.spawn(["dd", "if=/dev/zero", "bs=1M"], stdout=each) for each in (data, connection.data())]
        settles(lambda: connection.stats()["DataOut"])
        self.processes += writers
        self.shaking = self.handshake()
        poll = select.poll()
        quiet, _ = case.connect(mount, self.silent)
        self.quiet = quiet.data()
        poll.register(self.quiet, select.POLLIN)
        self.poll = case.background(poll.poll, TIMEOUT * 1000)
        time.sleep(0.3)
        self.assertWaiting()
        return self

    def assertWaiting(self):
        for process in self.processes:
            self.case.assertIsNone(process.code(), f"{process.argv}: {process.output()}")

    def handshake(self):
        """A program that waits in `client` for a peer that says nothing."""
        ours, theirs = tcp_pair()
        self.kept.append(theirs)
        with ours:
            script = f"exec 99<>$TLSFS/clone; echo 'fd {ours.fileno()}' >&99; echo 'client {NAME}' >&99"
            process = self.case.spawn(["bash", "-euc", script], pass_fds=[ours.fileno()],
                                      environment={"TLSFS": str(self.mount.path)})
        theirs.settimeout(TIMEOUT)
        theirs.recv(1)
        return process

    def assertAllReturn(self):
        """With an error, by themselves. What the kernel carries goes on until its peers go."""
        self.assertEnds(self.shaking)
        if engine.outlives_companion:
            self.assertWaiting()
            self.over.set()
        for process in self.processes:
            self.assertEnds(process)
        self.case.assertNotEqual(self.poll.result(), [], "poll must wake up")
        with self.case.assertRaises(OSError):
            os.read(self.quiet, 1)
        # The first piece after a peer's FIN may still go out, and is what makes the peer refuse the next.
        until(lambda: self.case.refuses(os.write, self.quiet, b"x"), "an error for who writes")
        for sock in self.kept:
            sock.close()

    def assertEnds(self, process):
        self.case.assertGreater(process.wait(), 0, f"{process.argv} must end with an error, by itself")


class Death(Case):
    def works(self, path):
        """A new companion at the same place must serve."""
        mount = self.mount(path=path)
        connection, peer = self.connect(mount, lambda peer: peer.read_all())
        os.write(connection.data(), b"again")
        connection.close()
        self.assertEqual(peer.result(), b"again")
        mount.stop()

    @concurrent
    def test_sigkill_of_the_companion_tells_everybody_who_waits(self):
        mount = self.mount()
        waiters = Waiters(self, mount).start()
        mount.ended = True
        mount.signal(signal.SIGKILL)
        mount.process.wait()
        waiters.assertAllReturn()
        until(lambda: not is_mounted(mount.path), "no stale mount stays")
        self.assertEqual(os.listdir(mount.path), [])
        self.works(mount.path)

    @concurrent
    def test_sigterm_ends_it_cleanly_with_everybody_waiting(self):
        mount = self.mount()
        waiters = Waiters(self, mount).start()
        mount.stop()
        waiters.assertAllReturn()
        self.assertEqual(os.listdir(mount.path), [])
        self.works(mount.path)

    def test_sigint_and_sighup_do_not_break_it(self):
        mount = self.mount()
        connection, _ = self.connect(mount)
        data = connection.data()
        mount.signal(signal.SIGINT)
        self.assertEqual(mount.process.wait(), 0, mount.process.output())
        mount.ended = True
        if engine.outlives_companion:
            os.write(data, b"still")
            self.assertEqual(os.read(data, 100), b"still")
        else:
            self.assertRaises(OSError, os.read, data, 1)
        until(lambda: not is_mounted(mount.path), "unmounted")

    @needs_root
    def test_a_forced_unmount_tells_everybody_who_waits(self):
        mount = self.mount()
        waiters = Waiters(self, mount).start()
        mount.ended = True
        self.run_program(["umount", "-f", mount.path])
        waiters.assertAllReturn()
        # The connection to the companion is broken off, but the name may stay while files are open.
        self.run_program(["umount", "-l", mount.path])
        mount.process.wait()
        until(lambda: not is_mounted(mount.path), "no stale mount stays")
        self.works(mount.path)

    @needs_root
    def test_a_lazy_unmount_lets_open_connections_finish_and_then_ends_it(self):
        mount = self.mount()
        connection, peer = self.connect(mount)
        data = connection.data()
        self.assertRan(self.run_program(["umount", "-l", mount.path]))
        mount.ended = True
        self.assertFalse(is_mounted(mount.path))
        try:
            os.write(data, b"still")
            self.assertEqual(os.read(data, 100), b"still")
        except OSError:
            pass  # a companion that ends at once tells them so
        connection.close()
        self.assertEqual(mount.process.wait(), 0, mount.process.output())
        self.works(mount.path)

    def test_a_plain_unmount_of_a_busy_mount_is_refused_and_harms_nothing(self):
        mount = self.mount()
        connection, _ = self.connect(mount)
        data = connection.data()
        self.assertNotEqual(self.run_program(["umount", mount.path]).returncode, 0)
        os.write(data, b"still")
        self.assertEqual(os.read(data, 100), b"still")

    def test_a_plain_unmount_of_an_idle_mount_ends_the_companion(self):
        mount = self.mount()
        until(lambda: self.run_program(["umount", mount.path]).returncode == 0, "umount")
        self.assertEqual(mount.process.wait(), 0, mount.process.output())
        mount.ended = True
        self.works(mount.path)

    def test_the_private_mount_too_can_be_killed_unmounted_and_started_again(self):
        first, _ = self.users()
        path = None
        for end in ("SIGKILL", "fusermount3 -u", "SIGTERM"):
            with self.subTest(end):
                mount = self.mount(user=first, path=path)
                path = mount.path
                holder = self.spawn(["dash", "-euc", "exec 9<>$TLSFS/clone; read -r n"], user=first,
                                    stdin=subprocess.PIPE, environment={"TLSFS": str(path)})
                until(lambda: state(holder.pid) == "S", "the holder waits")
                mount.ended = True
                if end == "SIGKILL":
                    mount.signal(signal.SIGKILL)
                elif end == "fusermount3 -u":
                    holder.stdin.close()
                    holder.wait()
                    # Without user namespaces (in a chroot, for one) `attach` keeps the mount busy.
                    apart = self.run_program(["unshare", "--user", "true"], user=first).returncode == 0
                    unmount = ["fusermount3", "-u" if apart else "-uz", path]
                    until(lambda: self.run_program(unmount, user=first).returncode == 0, "fusermount3 -u")
                else:
                    mount.signal(signal.SIGTERM)
                code = mount.process.wait()
                self.assertEqual(code, -9 if end == "SIGKILL" else 0, mount.process.output())
                until(lambda: not is_mounted(path), "no stale mount stays")

    @needs_root
    def test_even_a_stale_mount_does_not_stop_the_next_start(self):
        """As after a crash that took everything of ours with it at once."""
        mount = self.mount()
        mount.ended = True
        doomed = [mount.pid, *descendants(mount.pid)]
        for pid in doomed:
            os.kill(pid, signal.SIGSTOP)
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)
        mount.process.wait()
        self.works(mount.path)
        while is_mounted(mount.path):
            self.assertRan(self.run_program(["umount", "-l", mount.path]))

    def test_a_second_companion_at_the_same_place_gives_way_to_the_first(self):
        mount = self.mount()
        second = self.spawn([program("tlsfs"), "-f", mount.path])
        self.assertNotEqual(second.wait(), 0, second.output())
        connection, _ = self.connect(mount)
        data = connection.data()
        os.write(data, b"still here")
        self.assertEqual(os.read(data, 100), b"still here")

    @concurrent
    def test_killed_in_the_midst_of_transfers_nobody_hangs(self):
        """At a random moment, with many connections busy; several times."""
        script = """
            exec 4<>$TLSFS/clone; read -r n <&4; cat "$CA" >$TLSFS/$n/ca
            printf 'dial localhost:%s\\nclient\\n' $PORT >&4
            exec 5<>$TLSFS/$n/data; exec 4>&-; cat <&5 >/dev/null & exec cat /dev/zero >&5
        """
        for delay in (0.05, 0.2, 0.4):
            mount, server = self.mount(), echo_server(self)
            environment = {"TLSFS": str(mount.path), "PORT": str(server.port), "CA": self.certs.ca}
            busy = [self.spawn(["dash", "-euc", script], environment=environment) for _ in range(8)]
            time.sleep(delay)
            mount.ended = True
            mount.signal(signal.SIGKILL)
            mount.process.wait()
            if engine.outlives_companion:
                server.kill_group()
            for process in busy:
                self.assertGreater(process.wait(), 0, "an error, by itself")
            until(lambda: not is_mounted(mount.path), "no stale mount stays")


class Outlives(Case):
    """What the kernel carries needs no companion."""

    COUNT, SIZE = 100, 256 << 10

    def small_pair(self):
        """A TCP connection that holds little, so that a transfer takes its time."""
        ours, theirs = tcp_pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        return ours, theirs

    @staticmethod
    def content(number):
        return random.Random(number).randbytes(Outlives.SIZE)

    def sends(self, number):
        """A peer that sends half before the kill and half after it."""
        def script(peer):
            content = self.content(number)
            peer.write(content[:self.SIZE // 2])
            self.killed.wait()
            peer.write(content[self.SIZE // 2:])
            peer.close_notify()
        return script

    def receives(self, number):
        def script(peer):
            content = peer.read_exactly(self.SIZE // 4)
            self.killed.wait()
            content += peer.read_all()
            return content == self.content(number)
        return script

    def write_pieces(self, connection, number):
        content, data = self.content(number), connection.data()
        for start in range(0, self.SIZE, 16384):
            write_all(data, content[start:start + 16384])
        connection.close()
        return True

    @unittest.skipUnless(engine.outlives_companion, "the user engine's connections end with their companion")
    def test_a_hundred_transfers_survive_sigkill_bit_for_bit_and_the_next_companion_finds_who_is_left(self):
        mount = self.mount()
        self.killed = threading.Event()
        self.addCleanup(self.killed.set)
        stays, stays_peer = self.connect(mount)
        transfers, figures = [], []
        for number in range(self.COUNT):
            if number % 2:
                connection, _ = self.connect(mount, self.sends(number), pair=self.small_pair)
                data = connection.data()
                transfers.append(self.background(lambda data=data, number=number: read_all(data) == self.content(number)))
                figures.append((connection, "DataIn"))
            else:
                connection, peer = self.connect(mount, self.receives(number), pair=self.small_pair)
                transfers += [self.background(self.write_pieces, connection, number), peer]
                figures.append((connection, "DataOut"))
        until(lambda: all(connection.stats()[what] for connection, what in figures), "all have begun")
        self.assertTrue(all(transfer.running for transfer in transfers), "none has ended")
        mount.ended = True
        mount.signal(signal.SIGKILL)
        mount.process.wait()
        self.killed.set()
        self.assertEqual([transfer.result() for transfer in transfers], [True] * len(transfers))

        until(lambda: not is_mounted(mount.path), "no stale mount stays")
        again = self.mount(path=mount.path)
        for connection, _ in figures:
            connection.close()
        until(lambda: again.numbers() == [stays.number], "the next companion knows who is left")
        status = stays.status()
        self.assertEqual((status["State"], status["Engine"], status["Name"], status["Version"]),
                         ("Established", "kernel", NAME, "TLSv1.3"))
        data = stays.data()
        os.write(data, b"again")
        self.assertEqual(os.read(data, 100), b"again")
        self.assertEqual((stays.stats()["DataIn"], stays.stats()["DataOut"]), (5, 5))
        stays.close()
        again.wait_until_empty()
        self.assertEqual(stays_peer.result(), 5)


class Idle(Case):
    def test_idle_exit_ends_an_idle_companion_and_no_busy_one(self):
        busy = self.mount("--idle-exit", "1")
        idle = self.mount("--idle-exit", "1")
        connection = busy.connection()
        self.assertEqual(idle.process.wait(), 0, idle.process.output())
        idle.ended = True
        self.assertFalse(is_mounted(idle.path))
        time.sleep(1.5)
        self.assertIsNone(busy.process.code(), "a connection is open")
        connection.close()
        self.assertEqual(busy.process.wait(), 0, busy.process.output())
        busy.ended = True
        self.assertFalse(is_mounted(busy.path))

    def test_without_f_it_goes_to_the_background_when_it_is_ready(self):
        place = self.dir / "place"
        place.mkdir()
        done = self.run_program([program("tlsfs"), "--idle-exit", "1", place])
        self.assertRan(done)
        self.assertTrue(is_mounted(place) and (place / "clone").exists(), "ready when the command returns")
        number = self.shell("dash", "exec 4<>$TLSFS/clone; read -r n <&4; echo $n", environment={"TLSFS": str(place)})
        self.assertRegex(number.stdout, r"^\d+\n$")
        until(lambda: not is_mounted(place), "it ends when it is idle")

    def test_a_directory_that_is_no_place_for_a_mount_is_111(self):
        done = self.run_program([program("tlsfs"), "-f", self.certs.ca])
        self.assertEqual(done.returncode, 111, done.stderr)

    def test_many_starts_and_ends_leave_nothing(self):
        place = self.dir / "place"
        for _ in range(5):
            mount = self.mount(path=self._made(place))
            ours, theirs = socket.socketpair()
            with ours, theirs:
                mount.connection().say(f"fd {ours.fileno()}")
            mount.stop()
        self.assertFalse(is_mounted(place))

    @staticmethod
    def _made(place):
        place.mkdir(exist_ok=True)
        return place
