# SPDX-License-Identifier: MIT
"""Point 2: `data` is a byte stream like a socket: full duplex, nonblocking, any size, and never unkillable."""

import ctypes
import errno
import os
import select
import selectors
import signal
import socket
import sys
import threading
import time

from harness import Case, concurrent, file_only, helper, over_all_plain_sides, scaled, slow
from harness.bulk import bulk_client, bulk_server, client_of, echo_server, pattern, server_of
from harness.device import read_all, read_exactly, write_all
from harness.peers import silent, unix_pair
from harness.processes import state
from harness.wait import settles, until

MEGABYTE = 1 << 20
HUGE = int(os.environ.get("E2E_HUGE", (4 << 30) + (64 << 20)))
libc = ctypes.CDLL(None, use_errno=True)


class StreamCase(Case):
    def bulk(self, count):
        """That much over the file, and less over the other plain sides."""
        return scaled(count * self.plain_side.bulk)


def some_bytes(count):
    return bytes(range(251)) * (count // 251) + bytes(range(count % 251))


@over_all_plain_sides
class FullDuplex(StreamCase):
    """One shared open file, used from both sides at once."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def test_cat_and_echo_share_one_open_file_in_the_shell(self):
        connection, _ = self.connect(self.tlsfs)
        data = connection.data()
        script = f"""
            cat <&{data} &
            sleep 0.3; echo first >&{data}; echo second >&{data}; echo close >&{connection.ctl}; wait
        """
        done = self.shell("bash", script, pass_fds=[connection.ctl, data])
        self.assertRan(done)
        self.assertEqual(done.stdout, "first\nsecond\n")

    def test_a_forked_child_writes_while_the_parent_waits_to_read(self):
        connection, peer = self.connect(self.tlsfs)
        data = connection.data()
        child = os.fork()
        if child == 0:
            select.select([], [], [], 0.3)
            os.write(data, b"from the child")
            os._exit(0)
        self.assertEqual(os.read(data, 100), b"from the child")
        os.waitpid(child, 0)
        connection.close()
        self.assertEqual(peer.result(), 14)

    @concurrent
    def test_two_threads_transfer_in_both_directions(self):
        size = self.bulk(64 * MEGABYTE)
        ours, peer = bulk_server(self, "--send", str(size), "--expect", str(size))
        connection = client_of(self, self.tlsfs, ours)
        data = connection.data()
        threads = pattern(self, "both", size, 100_000, stdin=data, stdout=data)
        self.assertEqual(threads.wait(), 0, threads.output())
        connection.close()
        self.assertEqual(peer.wait(), 0, peer.output())

    @concurrent
    def test_two_processes_transfer_in_both_directions(self):
        size = self.bulk(64 * MEGABYTE)
        ours, peer = bulk_client(self, "--send", str(size), "--expect", str(size))
        connection = server_of(self, self.tlsfs, ours)
        reader = pattern(self, "check", size, stdin=connection.data())
        writer = pattern(self, "write", size, stdout=connection.data())
        self.assertEqual(writer.wait(), 0, writer.output())
        self.assertEqual(reader.wait(), 0, reader.output())
        # A socket may hold the last of it for a moment.
        until(lambda: connection.stats()["DataOut"] >= size, "the companion has taken everything")
        stats = connection.stats()
        connection.close()
        self.assertEqual(peer.wait(), 0, peer.output())
        self.assertEqual((stats["DataIn"], stats["DataOut"]), (size, size))
        self.assertGreater(stats["WireOut"], size)
        self.assertGreater(stats["WireIn"], size)
        self.assertGreaterEqual(stats["RecordsIn"], size // 16384)
        self.assertGreaterEqual(stats["RecordsOut"], size // 16384)

    @concurrent
    def test_many_writers_and_readers_of_one_file_lose_nothing(self):
        connection, _ = self.connect(self.tlsfs)
        shared = connection.data()
        count, line = 200, b"x" * 999 + b"\n"
        writers = [self.background(lambda: [write_all(shared, line) for _ in range(count)]) for _ in range(4)]
        parts = [self.background(count_to_the_end, shared) for _ in range(3)]
        for writer in writers:
            writer.result()
        connection.say("close")
        total = sum(part.result() for part in parts)
        self.assertEqual(total, 4 * count * len(line))


def count_to_the_end(descriptor):
    """Reads until the end together with others; returns how much this one got."""
    total = 0
    while part := os.read(descriptor, 5000):
        total += len(part)
    return total


@over_all_plain_sides
class Sizes(StreamCase):
    def test_one_byte_at_a_time(self):
        connection, _ = self.connect(self.mount())
        data = connection.data()
        content = some_bytes(self.bulk(3000))
        got = b""
        for byte in content:
            self.assertEqual(os.write(data, bytes([byte])), 1)
            got += os.read(data, 1)
        self.assertEqual(got, content)

    def test_a_read_of_one_byte_leaves_the_rest(self):
        connection, _ = self.connect(self.mount(), lambda peer: (peer.write(b"abcdef"), peer.close_notify()))
        data = connection.data()
        self.assertEqual([os.read(data, 1), os.read(data, 2), os.read(data, 100), os.read(data, 100)],
                         [b"a", b"bc", b"def", b""])

    def test_a_megabyte_in_one_write_is_taken_whole(self):
        connection, peer = self.connect(self.mount(), lambda peer: peer.read_all())
        data = connection.data()
        content = some_bytes(5 * MEGABYTE + 12345)
        self.assertEqual(write_all(data, content), 1, "a blocking write takes all bytes")
        connection.close()
        self.assertEqual(peer.result(), content)

    def test_a_read_gives_what_there_is_and_never_waits_to_fill_its_buffer(self):
        def script(peer):
            peer.write(b"little")
            silent(peer)
        connection, _ = self.connect(self.mount(), script)
        self.assertEqual(os.read(connection.data(), MEGABYTE), b"little")

    def test_big_reads_get_more_than_one_record(self):
        def script(peer):
            peer.write(some_bytes(MEGABYTE))
            peer.close_notify()
        connection, peer = self.connect(self.mount(), script, pair=unix_pair)
        self.assertEqual(read_all(connection.data()), some_bytes(MEGABYTE))

    def test_vectors_and_nothing_at_all(self):
        connection, _ = self.connect(self.mount())
        data = connection.data()
        self.assertEqual(os.write(data, b""), 0)
        self.assertEqual(os.writev(data, [b"one ", b"two ", b"three"]), 13)
        first, second = bytearray(5), bytearray(8)
        self.assertEqual(read_exactly(data, 3), b"one")
        until(lambda: select.select([data], [], [], 1)[0], "the rest of the echo")
        count = os.readv(data, [first, second])
        self.assertEqual((bytes(first) + bytes(second))[:count], b" two three"[:count])
        self.assertRaises(OSError, os.lseek, data, 0, os.SEEK_SET)

    @file_only("it would take long, and the counters are the same")
    @slow
    def test_more_than_four_gigabytes_to_the_peer(self):
        ours, peer = bulk_server(self, "--expect", str(HUGE))
        connection = client_of(self, self.mount(), ours)
        writer = pattern(self, "write", HUGE, stdout=connection.data())
        self.assertEqual(writer.wait(1000), 0, writer.output())
        self.assertEqual(connection.stats()["DataOut"], HUGE)
        connection.close()
        self.assertEqual(peer.wait(), 0, peer.output())

    @file_only("it would take long, and the counters are the same")
    @slow
    def test_more_than_four_gigabytes_from_the_peer(self):
        ours, peer = bulk_server(self, "--send", str(HUGE))
        connection = client_of(self, self.mount(), ours)
        reader = pattern(self, "check", HUGE, stdin=connection.data())
        self.assertEqual(reader.wait(1000), 0, reader.output())
        self.assertEqual(connection.stats()["DataIn"], HUGE)
        connection.close()
        self.assertEqual(peer.wait(), 0, peer.output())


@over_all_plain_sides
class Nonblocking(StreamCase):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def test_a_read_without_data_is_eagain_and_with_data_is_not(self):
        connection, _ = self.connect(self.tlsfs)
        data = connection.data(os.O_NONBLOCK)
        self.assertErrno(errno.EAGAIN, os.read, data, 10)
        os.write(data, b"hello")
        self.assertEqual(select.select([data], [], [], 30)[0], [data])
        self.assertEqual(os.read(data, 10), b"hello")
        self.assertErrno(errno.EAGAIN, os.read, data, 10)

    @file_only("a socket has no second open file")
    def test_the_flag_belongs_to_the_open_file_and_may_change(self):
        connection, _ = self.connect(self.tlsfs)
        plain, other = connection.data(), connection.data(os.O_NONBLOCK)
        self.assertErrno(errno.EAGAIN, os.read, other, 10)
        os.set_blocking(plain, False)
        self.assertErrno(errno.EAGAIN, os.read, plain, 10)
        os.set_blocking(other, True)
        waits = self.background(os.read, other, 10)
        os.write(plain, b"x")
        self.assertEqual(waits.result(), b"x")

    def test_writes_are_partial_and_then_eagain_when_the_window_is_full(self):
        def script(peer):
            start.wait()
            return len(peer.read_all())
        start = threading.Event()
        connection, peer = self.connect(self.tlsfs, script)
        data = connection.data(os.O_NONBLOCK)
        total, block = 0, bytes(3 * MEGABYTE)
        partial, refused = False, 0
        # What was taken may move on and make room once more: until it stays full.
        while refused < 10:
            try:
                count = os.write(data, block)
            except BlockingIOError:
                refused += 1
                time.sleep(0.03)
                continue
            refused = 0
            partial |= count < len(block)
            total += count
            self.assertLess(total, 1 << 30, "the window never fills")
        self.assertTrue(partial)
        self.assertEqual(select.select([], [data], [], 0)[1], [], "not writable while the window is full")
        start.set()
        self.assertEqual(select.select([], [data], [], 30)[1], [data])
        connection.close()
        self.assertEqual(peer.result(), total)

    def test_select_poll_and_epoll_say_the_same_as_on_a_socket(self):
        def script(peer):
            peer.read_exactly(4)
            peer.write(b"pong")
            peer.read_exactly(3)
            peer.close_notify()
            silent(peer)
        connection, _ = self.connect(self.tlsfs, script)
        data = connection.data(os.O_NONBLOCK)
        poll, epoll = select.poll(), select.epoll()
        poll.register(data, select.POLLIN | select.POLLOUT)
        epoll.register(data, select.EPOLLIN | select.EPOLLOUT)

        def readable():
            found = (bool(select.select([data], [], [], 0)[0]), bool(dict(poll.poll(0)).get(data, 0) & select.POLLIN),
                     bool(dict(epoll.poll(0)).get(data, 0) & select.EPOLLIN))
            self.assertEqual(len(set(found)), 1, found)
            return found[0]

        self.assertFalse(readable())
        self.assertEqual(poll.poll(0), [(data, select.POLLOUT)])
        self.assertEqual(epoll.poll(0), [(data, select.EPOLLOUT)])
        os.write(data, b"ping")
        self.assertTrue(select.select([data], [], [], 30)[0])
        self.assertTrue(readable())
        self.assertEqual(os.read(data, 10), b"pong")
        self.assertFalse(readable())
        os.write(data, b"end")
        self.assertTrue(select.select([data], [], [], 30)[0])
        self.assertTrue(readable(), "the end of the stream is readable")
        self.assertEqual(os.read(data, 10), b"")
        self.assertTrue(readable(), "and stays so")

    def test_poll_wakes_a_waiter_and_not_for_what_is_no_data(self):
        def script(peer):
            peer.read_exactly(2)
            for _ in range(3):
                peer.write(b"data")
                peer.read_exactly(2)
        connection, _ = self.connect(self.tlsfs, script)
        data = connection.data(os.O_NONBLOCK)
        for _ in range(3):
            os.write(data, b"go")
            self.assertEqual(select.select([data], [], [], 30)[0], [data])
            self.assertEqual(os.read(data, 100), b"data")
            self.assertEqual(select.select([data], [], [], 0.2)[0], [])

    def test_selectors_drive_twenty_connections_in_one_thread(self):
        peers, sums = [], {}
        with selectors.DefaultSelector() as loop:
            for _ in range(20):
                connection, peer = self.connect(self.tlsfs)
                data = connection.data(os.O_NONBLOCK)
                peers.append((connection, peer))
                sums[data] = b""
                loop.register(data, selectors.EVENT_READ)
                os.write(data, b"hello %d" % data)
            while loop.get_map():
                ready = loop.select(30)
                self.assertTrue(ready)
                for key, _ in ready:
                    sums[key.fd] += os.read(key.fd, 100)
                    if sums[key.fd] == b"hello %d" % key.fd:
                        loop.unregister(key.fd)
        for connection, peer in peers:
            connection.close()
            peer.result()

    def epoll_loop(self, how):
        server = echo_server(self)
        streams = []
        for _ in range(24):
            connection = self.tlsfs.connection()
            connection.put("ca", self.certs.text("ca.pem"))
            connection.say(f"dial localhost:{server.port}", "client")
            streams.append(connection.data())
        loop = self.spawn([helper("epoll_loop"), how, str(self.bulk(4 * MEGABYTE)), *streams], pass_fds=streams)
        self.assertEqual(loop.wait(), 0, loop.output())
        self.assertEqual(loop.output(), "24 streams\n")

    @concurrent
    def test_a_level_triggered_epoll_loop_carries_many_streams(self):
        self.epoll_loop("level")

    @concurrent
    def test_an_edge_triggered_epoll_loop_carries_many_streams(self):
        self.epoll_loop("edge")


@over_all_plain_sides
class Handing(Case):
    """The plaintext survives dup, fork, exec and SCM_RIGHTS; whoever holds it needs nothing else."""

    def test_the_data_lives_on_in_a_dup_and_after_the_ctl_is_closed(self):
        connection, peer = self.connect(self.mount())
        data = connection.data()
        copy = os.dup(data)
        connection.drop(connection.ctl)
        connection.drop(data)
        os.write(copy, b"still here")
        self.assertEqual(os.read(copy, 100), b"still here")
        self.assertTrue(peer.running)
        os.close(copy)
        self.assertEqual(peer.result(), 10)

    def test_an_exec_of_cat_carries_it(self):
        connection, _ = self.connect(self.mount(), lambda peer: (peer.write(b"to cat"), peer.close_notify()))
        done = self.run_program(["cat"], stdin=connection.data())
        self.assertEqual(done.stdout, "to cat")

    def test_it_passes_over_a_unix_socket_to_another_process(self):
        connection, peer = self.connect(self.mount())
        ours, theirs = socket.socketpair()
        script = ("import os, socket; s = socket.socket(fileno=0); _, (fd,), _, _ = socket.recv_fds(s, 1, 1);"
                  "os.write(fd, b'passed'); print(os.read(fd, 100))")
        with ours, theirs:
            receiver = self.spawn([sys.executable, "-c", script], stdin=theirs)
            data = connection.data()
            socket.send_fds(ours, [b"x"], [data])
            connection.close()
            self.assertEqual(receiver.wait(), 0, receiver.output())
        self.assertEqual(receiver.output(), "b'passed'\n")
        self.assertEqual(peer.result(), 6)

    def test_another_user_who_was_handed_it_may_use_it(self):
        someone, _ = self.users()
        connection, _ = self.connect(self.mount())
        data = connection.data()
        done = self.shell("bash", f"echo hello >&{data}; read -r line <&{data}; echo got $line", user=someone,
                          pass_fds=[data])
        self.assertRan(done)
        self.assertEqual(done.stdout, "got hello\n")
        denied = self.run_program(["cat", connection.dir / "status"], user=someone)
        self.assertIn("No such file", denied.stderr)


@over_all_plain_sides
class Blocked(Case):
    """Who waits on a silent peer or a full window can be interrupted and killed."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()
        self.connection, self.peer_thread = self.connect(self.tlsfs, silent)

    def waiting_reader(self, data):
        reader = self.spawn(["cat"], stdin=data)
        until(lambda: state(reader.pid) in ("S", "D"), "cat waits")
        select.select([], [], [], 0.2)
        self.assertIsNone(reader.code(), reader.output())
        return reader

    def waiting_writers(self, descriptors):
        writers = [self.spawn(["dd", "if=/dev/zero", "bs=1M"], stdout=data) for data in descriptors]
        settles(lambda: self.connection.stats()["DataOut"])
        for writer in writers:
            self.assertIsNone(writer.code(), writer.output())
        return writers

    def assertDies(self, processes, number):
        for process in processes:
            process.signal(number)
        for process in processes:
            self.assertEqual(process.wait(10), -number)

    @file_only("who reads from a socket waits in the kernel alone")
    def test_a_blocked_reader_dies_at_sigterm(self):
        self.assertDies([self.waiting_reader(self.connection.data())], signal.SIGTERM)

    @file_only("who reads from a socket waits in the kernel alone")
    def test_a_blocked_reader_dies_at_sigkill(self):
        self.assertDies([self.waiting_reader(self.connection.data())], signal.SIGKILL)

    def test_a_blocked_writer_dies_at_sigterm(self):
        self.assertDies(self.waiting_writers([self.connection.data()]), signal.SIGTERM)

    def test_a_blocked_writer_dies_at_sigkill(self):
        self.assertDies(self.waiting_writers([self.connection.data()]), signal.SIGKILL)

    @file_only("a socket has no second open file")
    def test_two_writers_with_their_own_opens_die_at_once(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number.name):
                self.assertDies(self.waiting_writers([self.connection.data(), self.connection.data()]), number)

    def test_two_writers_of_one_open_file_die_at_once(self):
        data = self.connection.data()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number.name):
                self.assertDies(self.waiting_writers([data, data]), number)

    def test_the_second_of_two_writers_dies_alone(self):
        first, second = self.waiting_writers([self.connection.data(), self.connection.data()])
        self.assertDies([second], signal.SIGKILL)
        self.assertIsNone(first.code())
        self.assertDies([first], signal.SIGKILL)

    def test_reader_and_writers_of_one_file_die_at_once(self):
        data = self.connection.data()
        everybody = [self.waiting_reader(data), self.waiting_reader(data), *self.waiting_writers([data, data])]
        self.assertDies(everybody, signal.SIGKILL)
        self.assertEqual(self.connection.status()["State"], "Established")

    def test_a_full_window_stops_no_reader_and_no_other_connection(self):
        other, _ = self.connect(self.tlsfs)
        [writer] = self.waiting_writers([self.connection.data()])
        data = other.data()
        os.write(data, b"goes on")
        self.assertEqual(os.read(data, 100), b"goes on")
        reader = self.waiting_reader(self.connection.data())
        self.assertDies([reader, writer], signal.SIGKILL)

    def interrupted(self, call):
        """Makes a system call that a signal interrupts: (value, errno)."""
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        ctypes.set_errno(0)
        value = call()
        return value, ctypes.get_errno()

    @file_only("who reads from a socket waits in the kernel alone")
    def test_a_signal_ends_a_waiting_read_with_eintr(self):
        data, buffer = self.connection.data(), ctypes.create_string_buffer(100)
        self.assertEqual(self.interrupted(lambda: libc.read(data, buffer, 100)), (-1, errno.EINTR))

    def test_a_signal_ends_a_waiting_write_with_the_count_so_far_then_eintr(self):
        def script(peer):
            start.wait()
            return len(peer.read_all())
        start = threading.Event()
        connection, peer = self.connect(self.tlsfs, script)
        data, size = connection.data(), 512 * MEGABYTE
        buffer = ctypes.create_string_buffer(size)
        count, _ = self.interrupted(lambda: libc.write(data, buffer, size))
        self.assertGreater(count, 0)
        self.assertLess(count, size)
        # A little may still find room after so big a piece.
        while (last := self.interrupted(lambda: libc.write(data, buffer, 100)))[0] > 0:
            count += last[0]
        self.assertEqual(last, (-1, errno.EINTR))
        start.set()
        connection.close()
        self.assertEqual(peer.result(), count)

    def test_a_closed_reader_leaves_the_stream_to_the_next(self):
        self.assertDies([self.waiting_reader(self.connection.data())], signal.SIGKILL)
        connection, _ = self.connect(self.tlsfs)
        data = connection.data()
        self.assertDies([self.waiting_reader(data)], signal.SIGKILL)
        os.write(data, b"for the next")
        self.assertEqual(os.read(data, 100), b"for the next", "the dead reader must not have taken it")
