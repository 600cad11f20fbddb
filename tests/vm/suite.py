#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The kernel module's tests, run in the guest by tests/vm/run.  suite.py [--list] [TEST...]"""
import array
import contextlib
import ctypes
import errno
import fcntl
import os
import random
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import traceback

import harness
from harness import (Agent, Connection, Ctl, Peer, Skip, in_child, in_thread, poll_events, raises, read_all, tcp_pair,
                     wait_for, write_all)

TESTS = []
NOBODY = 65534


def test(function):
    TESTS.append(function)
    return function


# ---- data ----

def echo_both_ways(connection):
    payload = os.urandom(200_000)
    thread = in_thread(connection.peer.receive_all, len(payload))
    write_all(connection.data, payload)
    assert thread.finish() == payload
    thread = in_thread(connection.peer.send, payload)
    assert read_all(connection.data, len(payload)) == payload
    thread.finish()


@test
def client_tls13(agent):
    """Data both ways; the server's two tickets never show."""
    connection = Connection(agent)
    echo_both_ways(connection)
    connection.finish()


@test
def server_tls13(agent):
    connection = Connection(agent, role="server")
    echo_both_ways(connection)
    connection.finish()


@test
def client_tls12(agent):
    connection = Connection(agent, version="1.2")
    echo_both_ways(connection)
    connection.finish()


@test
def server_tls12(agent):
    connection = Connection(agent, role="server", version="1.2")
    echo_both_ways(connection)
    connection.finish()


@test
def every_suite(agent):
    for suite in "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256":
        connection = Connection(agent, ciphers=suite)
        echo_both_ways(connection)
        connection.finish()
    for suite in "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305":
        connection = Connection(agent, version="1.2", ciphers=suite)
        echo_both_ways(connection)
        connection.finish()


@test
def vectors(agent):
    connection = Connection(agent)
    assert os.writev(connection.data, [b"one ", b"two ", b"three"]) == 13
    assert connection.peer.receive_all(13) == b"one two three"
    connection.peer.send(b"four five")
    buffers = [bytearray(5), bytearray(10)]
    assert os.readv(connection.data, buffers) == 9
    assert buffers[0] == b"four " and buffers[1][:4] == b"five"
    connection.finish()


@test
def no_position(agent):
    connection = Connection(agent)
    with raises(errno.ESPIPE):
        os.lseek(connection.data, 0, os.SEEK_SET)
    with raises(errno.ESPIPE):
        os.pread(connection.data, 10, 0)
    assert os.read(connection.data, 0) == b""
    assert os.write(connection.data, b"") == 0
    connection.finish()


@test
def splices(agent):
    """Into it, out of it, and sendfile; a ticket and close_notify in between."""
    connection = Connection(agent)
    payload = os.urandom(300_000)
    path = f"{harness.SCRATCH}/payload"
    with open(path, "wb") as file:
        file.write(payload)
    thread = in_thread(connection.peer.receive_all, len(payload))
    with open(path, "rb") as file:
        sent = 0
        while sent < len(payload):
            sent += os.sendfile(connection.data, file.fileno(), sent, len(payload) - sent)
    assert thread.finish() == payload
    with open(path, "rb") as file:      # the file is over before the count is: nothing may stay behind
        assert os.sendfile(connection.data, file.fileno(), 290_001, 1 << 30) == 9_999
    assert connection.peer.receive_all(9_999) == payload[290_001:]

    def out(count):
        read, write = os.pipe()
        data = b""
        while len(data) < count:
            n = os.splice(connection.data, write, 65536)
            if n == 0:
                break
            data += read_all(read, n)
        os.close(read), os.close(write)
        return data

    thread = in_thread(connection.peer.send, payload)
    assert out(len(payload)) == payload
    thread.finish()
    connection.peer.send(b"last")
    connection.peer.close_notify()
    assert out(100) == b"last"
    assert out(100) == b""

    read, write = os.pipe()
    os.write(write, b"through a pipe")
    assert os.splice(read, connection.data, 100) == 14
    assert connection.peer.receive() == b"through a pipe"
    connection.finish()


@test
def splice_ends(agent):
    connection = Connection(agent)
    read, write = os.pipe()
    connection.peer.sock.shutdown(socket.SHUT_WR)
    with raises(errno.ECONNRESET):
        os.splice(connection.data, write, 100)
    connection.finish()
    connection = Connection(agent)
    connection.peer.sock.sendall(b"GET / HTTP/1.0\r\n\r\n" * 10)
    with raises(errno.EPROTO):
        os.splice(connection.data, write, 100)
    connection.finish()


@test
def empty_records(agent):
    """Legal in TLS 1.2 and 1.3 for data; they show neither as bytes nor as an end."""
    connection = Connection(agent)
    for _ in range(3):
        connection.peer.send(b"")
    connection.peer.send(b"after")
    assert os.read(connection.data, 100) == b"after"
    connection.finish()


# ---- ends ----

@test
def close_notify_is_end_of_file(agent):
    connection = Connection(agent)
    connection.peer.send(b"bytes")
    connection.peer.close_notify()
    assert read_all(connection.data, 5) == b"bytes"
    for _ in range(3):
        assert os.read(connection.data, 10) == b""
    write_all(connection.data, b"half-closed")  # our half is still open
    assert connection.peer.receive() == b"half-closed"
    connection.finish()


@test
def bare_fin_is_reset(agent):
    connection = Connection(agent)
    connection.peer.send(b"bytes")
    connection.peer.sock.shutdown(socket.SHUT_WR)
    assert read_all(connection.data, 5) == b"bytes"
    for _ in range(3):
        with raises(errno.ECONNRESET):
            os.read(connection.data, 10)
    assert agent.query(connection.number)["read_error"] == errno.ECONNRESET
    connection.finish()


@test
def reset_is_reset(agent):
    connection = Connection(agent, tickets=0)
    connection.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.peer.close()
    for _ in range(2):
        with raises(errno.ECONNRESET):
            os.read(connection.data, 10)
    with raises(errno.EPIPE, errno.ECONNRESET):  # and no SIGPIPE
        os.write(connection.data, b"x")
    connection.finish()


@test
def last_close_sends_close_notify(agent):
    """Data closed, ctl closed, in either order, and while someone else keeps the socket."""
    for ctl_first in False, True:
        connection = Connection(agent, keep_transport=True)
        spare = os.dup(connection.data)
        for fd in (connection.fd, connection.data) if ctl_first else (connection.data, connection.fd):
            os.close(fd)
        connection.fd = connection.data = -1
        write_all(spare, b"still open")
        assert connection.peer.receive() == b"still open"
        os.close(spare)
        assert connection.peer.receive() == b""
        connection.transport.close()
        connection.finish()


@test
def half_close(agent):
    connection = Connection(agent)
    write_all(connection.data, b"bytes")
    connection.say("close")
    with raises(errno.EPIPE):
        os.write(connection.data, b"x")
    assert connection.peer.receive_all(5) == b"bytes"
    assert connection.peer.receive() == b""
    connection.peer.send(b"answer")
    assert os.read(connection.data, 10) == b"answer"
    connection.finish()


@test
def hangup(agent):
    connection = Connection(agent)
    thread = in_thread(os.read, connection.data, 10)
    time.sleep(0.2)
    connection.say("hangup")
    with raises(errno.ECONNRESET):
        thread.finish()
    with raises(errno.EPIPE):
        os.write(connection.data, b"x")
    with raises(errno.ENOTCONN):
        connection.open()
    try:
        connection.peer.receive()
        raise AssertionError("no truncation seen")
    except ssl.SSLError as error:
        assert "EOF" in str(error), error
    connection.finish()


@test
def hangup_frees_a_blocked_writer(agent):
    connection = Connection(agent)
    thread = in_thread(write_all, connection.data, bytes(50_000_000))
    time.sleep(0.5)
    connection.say("hangup")
    with raises(errno.EPIPE):
        thread.finish()
    connection.finish()


@test
def fatal_alert(agent):
    connection = Connection(agent)
    peer = connection.peer
    peer.incoming.write(b"\x17\x03\x03\x00\x20" + bytes(32))
    try:
        peer.tls.read(10)
    except ssl.SSLError:
        pass
    peer.flush()  # bad_record_mac, says the peer
    for _ in range(2):
        with raises(errno.EPROTO):
            os.read(connection.data, 10)
    with raises(errno.EPROTO):
        os.write(connection.data, b"x")
    status = agent.query(connection.number)
    assert status["read_error"] == errno.EPROTO and status["alert_in"] == 20, status
    connection.finish()


@test
def bad_record(agent):
    for version in "1.3", "1.2":
        connection = Connection(agent, version=version)
        record = bytearray(connection.peer.records(b"to be spoilt"))
        record[-1] ^= 1
        connection.peer.sock.sendall(record)
        for _ in range(2):
            with raises(errno.EBADMSG):
                os.read(connection.data, 100)
        with raises(errno.EBADMSG):
            os.write(connection.data, b"x")
        assert agent.query(connection.number)["alert_out"] == 20
        try:
            connection.peer.receive()
            raise AssertionError("no alert seen")
        except ssl.SSLError as error:
            assert "BAD_RECORD_MAC" in str(error), error
        connection.finish()


@test
def no_record_at_all(agent):
    for garbage in b"GET / HTTP/1.0\r\n\r\n" * 4, b"\x17\x03\x03\xff\xff" + bytes(100), b"\x17\x03\x03\x00\x01" + bytes(100):
        connection = Connection(agent)
        connection.peer.sock.sendall(garbage)
        for _ in range(2):
            with raises(errno.EPROTO, errno.EBADMSG):
                os.read(connection.data, 100)
        connection.finish()


@test
def key_update(agent):
    """The kernel cannot take new keys: a distinct error, and the messages go to the agent."""
    port = free_port()
    server = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", harness.CERT, "-key",
                               harness.KEY, "-tls1_3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    sock = connect_when_ready(port)
    ctl = Ctl(agent)
    ctl.say(f"fd {sock.fileno()}", "client")
    data = ctl.open()
    server.stdin.write(b"hello\n")
    server.stdin.flush()
    assert os.read(data, 100) == b"hello\n"
    server.stdin.write(b"k\n")
    server.stdin.flush()
    for _ in range(2):
        with raises(errno.EKEYEXPIRED):
            os.read(data, 100)
    with raises(errno.EKEYEXPIRED):
        read, write = os.pipe()
        os.splice(data, write, 100)
    agent.heard(f"handshake {ctl.number} ", "1800000100")  # behind tickets, perhaps
    assert agent.query(ctl.number)["read_error"] == errno.EKEYEXPIRED
    write_all(data, b"still written\n")
    os.close(data)
    ctl.close()
    server.kill()
    server.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def connect_when_ready(port, seconds=20):
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.05)


@test
def tickets_reach_the_agent(agent):
    connection = Connection(agent, tickets=2)
    connection.peer.send(b"x")
    assert os.read(connection.data, 1) == b"x"
    first = agent.heard(f"handshake {connection.number} 04").split()[2]
    messages = bytes.fromhex(first)
    assert int.from_bytes(messages[1:4], "big") <= len(messages) - 4  # whole messages
    connection.finish()


@test
def many_tickets(agent):
    """More than the module keeps: dropped whole, and the stream goes on."""
    connection = Connection(agent, tickets=200)
    connection.peer.send(b"x")
    assert os.read(connection.data, 1) == b"x"
    total = 0
    agent.heard(f"handshake {connection.number}")
    time.sleep(0.3)
    for line in [line for line in agent.lines if line.startswith(f"handshake {connection.number} ")]:
        messages = bytes.fromhex(line.split()[2])
        while messages:
            length = int.from_bytes(messages[1:4], "big") + 4
            assert messages[0] == 4 and length <= len(messages)
            messages = messages[length:]
            total += 1
    assert 1 <= total <= 200, total
    connection.finish()


# ---- waiting ----

@test
def poll_ignores_what_is_no_data(agent):
    """A ticket alone, or half a record, is no POLLIN; select and a blocking read can be trusted."""
    for version in "1.3", "1.2":
        poll_once(Connection(agent, version=version))


def poll_once(connection):
    time.sleep(0.2)
    assert poll_events(connection.data, 0.3) == 0
    record = connection.peer.records(b"whole")
    connection.peer.sock.sendall(record[:7])
    assert poll_events(connection.data, 0.3) == 0
    connection.peer.sock.sendall(record[7:])
    assert poll_events(connection.data, 5) == select.POLLIN
    assert os.read(connection.data, 100) == b"whole"
    assert poll_events(connection.data, 0) == 0
    connection.peer.close_notify()
    assert poll_events(connection.data, 5) & select.POLLIN
    assert os.read(connection.data, 100) == b""
    assert poll_events(connection.data, 0, select.POLLIN | select.POLLRDHUP) & select.POLLRDHUP
    connection.finish()


@test
def epoll(agent):
    for extra in 0, select.EPOLLET:
        connection = Connection(agent)
        poller = select.epoll()
        poller.register(connection.data, select.EPOLLIN | extra)
        assert not poller.poll(0.2)
        for _ in range(50):
            connection.peer.send(b"ping")
            assert poller.poll(5)
            assert os.read(connection.data, 100) == b"ping"
        assert not poller.poll(0)
        connection.peer.sock.close()
        assert poller.poll(5)
        with raises(errno.ECONNRESET):
            os.read(connection.data, 100)
        connection.finish()
        poller.close()


@test
def nonblocking(agent):
    connection = Connection(agent)
    fd = connection.open(flags=os.O_NONBLOCK)
    with raises(errno.EAGAIN):
        os.read(fd, 10)
    connection.peer.send(b"ping")
    wait_for(lambda: poll_events(fd))
    assert os.read(fd, 10) == b"ping"

    sent = bytearray()
    while True:
        block = os.urandom(30_000)
        try:
            sent += block[:os.write(fd, block)]
        except BlockingIOError:
            break
    assert not poll_events(fd, 0, select.POLLOUT)
    assert connection.peer.receive_all(len(sent)) == sent
    assert poll_events(fd, 5, select.POLLOUT) == select.POLLOUT
    os.close(fd)
    connection.finish()


@test
def reader_and_writer_share_a_file(agent):
    """One open file: a waiting read holds up neither a write, nor a poll, nor a read that finds data."""
    connection = Connection(agent)
    reader = in_thread(os.read, connection.data, 100)
    time.sleep(0.2)
    for _ in range(3):
        write_all(connection.data, b"written")
        assert connection.peer.receive_all(7) == b"written"
        assert poll_events(connection.data, 0, select.POLLOUT) == select.POLLOUT
        assert poll_events(connection.data, 0) == 0
    connection.peer.send(b"answer")
    assert reader.finish() == b"answer"

    writer = in_thread(write_all, connection.data, bytes(20_000_000))
    time.sleep(0.3)
    connection.peer.send(b"past the writer")
    assert os.read(connection.data, 100) == b"past the writer"
    assert connection.peer.receive_all(20_000_000) == bytes(20_000_000)
    writer.finish()
    connection.finish()


@test
def readers_all_learn_of_the_end(agent):
    connection = Connection(agent)
    readers = [in_thread(os.read, connection.data, 100) for _ in range(4)]
    time.sleep(0.3)
    connection.peer.close_notify()  # the TCP connection stays open
    assert [reader.finish() for reader in readers] == [b""] * 4
    connection.finish()


@test
def many_readers(agent):
    """Readers, pollers and tickets at once: every byte once, and nobody left behind."""
    connection = Connection(agent, tickets=20)
    total, seen, lock = 2_000_000, [0], threading.Lock()

    def take(blocking):
        fd = connection.open(flags=0 if blocking else os.O_NONBLOCK)
        poller = select.epoll()
        poller.register(fd, select.EPOLLIN)
        while True:
            if not blocking:
                assert poller.poll(30)
            try:
                piece = os.read(fd, 5000)
            except BlockingIOError:
                continue
            if not piece:
                os.close(fd)
                return
            with lock:
                seen[0] += len(piece)

    readers = [in_thread(take, number % 2 == 0) for number in range(6)]
    for _ in range(100):
        connection.peer.send(bytes(total // 100))
    connection.peer.close_notify()
    for reader in readers:
        reader.finish()
    assert seen[0] == total, seen
    connection.finish()


@test
def waiting_can_be_killed(agent):
    for what in "read", "write":
        connection = Connection(agent)
        pid = os.fork()
        if pid == 0:
            signal.alarm(0)
            if what == "read":
                os.read(connection.data, 10)
            else:
                write_all(connection.data, bytes(50_000_000))
            os._exit(0)
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        connection.finish()


@test
def a_signal_ends_a_read(agent):
    connection = Connection(agent)
    libc = ctypes.CDLL(None, use_errno=True)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.siginterrupt(signal.SIGUSR1, True)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    buffer = ctypes.create_string_buffer(10)
    assert libc.read(connection.data, buffer, 10) == -1 and ctypes.get_errno() == errno.EINTR
    timer.join()
    connection.finish()


@test
def closing_does_not_wait(agent):
    """The peer reads nothing: close(2) returns at once, and what was written arrives whole all the same."""
    connection = Connection(agent)
    fd = connection.open(flags=os.O_NONBLOCK)
    sent = bytearray()
    while True:
        block = os.urandom(30_000)
        try:
            sent += block[:os.write(fd, block)]
        except BlockingIOError:
            break
    start = time.monotonic()
    os.close(fd), os.close(connection.data)
    connection.data = -1
    connection.close()
    assert time.monotonic() - start < 1
    time.sleep(1)
    assert connection.peer.receive_all(len(sent)) == sent
    assert connection.peer.receive() == b""
    connection.finish()


@test
def half_close_behind_a_blocked_writer(agent):
    connection = Connection(agent)
    writer = in_thread(write_all, connection.data, bytes(10_000_000))
    time.sleep(0.3)
    connection.say("close")
    with raises(errno.EPIPE):
        os.write(connection.data, b"x")
    taken = bytearray()
    while piece := connection.peer.receive():
        taken += piece
    assert len(taken) == 10_000_000, len(taken)  # one write: taken whole, then close_notify
    writer.finish()
    connection.finish()


# ---- who may ----

@test
def descriptors_travel(agent):
    """Over fork, exec and SCM_RIGHTS; the holder needs no permission."""
    connection = Connection(agent)
    os.set_inheritable(connection.data, True)
    subprocess.run(["bash", "-c", f"echo from a shell >&{connection.data}"], pass_fds=[connection.data], check=True)
    assert connection.peer.receive() == b"from a shell\n"
    in_child(lambda: write_all(connection.data, b"nobody's"), uid=NOBODY)
    assert connection.peer.receive() == b"nobody's"
    left, right = socket.socketpair()
    socket.send_fds(left, [b"x"], [connection.data])
    _, fds, _, _ = socket.recv_fds(right, 1, 1)
    os.write(fds[0], b"sent over")
    assert connection.peer.receive() == b"sent over"
    os.close(fds[0])
    connection.finish()


@test
def others_see_nothing(agent):
    connection = Connection(agent)

    def look():
        for kind in "ctl", "data":
            with raises(errno.ENXIO):
                connection.open(kind)

    connection.node("ctl")
    in_child(look, uid=NOBODY)
    in_child(lambda: os.close(connection.open()))
    fd = connection.open("ctl")
    assert os.read(fd, 1) + os.read(fd, 100) == f"{connection.number}\n".encode()
    assert os.read(fd, 100) == b""
    os.close(fd)
    connection.finish()


@test
def an_ordinary_user(agent):
    def work():
        connection = Connection(agent)
        echo_both_ways(connection)
        connection.finish()

    ahead = Ctl(agent)
    first = ahead.name()
    ahead.close()
    for number in range(first, first + 4):  # nodes that only root can make
        path = f"{harness.SCRATCH}/{number}.data"
        with contextlib.suppress(FileExistsError):
            os.mknod(path, 0o666 | 0o020000, os.makedev(agent.data_major, number))
            os.chmod(path, 0o666)
    in_child(work, uid=NOBODY)


@test
def only_the_opener_writes_ctl(agent):
    ctl = Ctl(agent)
    ctl.say("verify none")

    def write():
        with raises(errno.EPERM):
            os.write(ctl.fd, b"verify none\n")

    in_child(write, uid=NOBODY)
    mine = []

    def open_and_pass(sock):
        fd = os.open("/dev/tls", os.O_RDWR)
        socket.send_fds(sock, [b"x"], [fd])

    left, right = socket.socketpair()
    in_child(open_and_pass, left, uid=NOBODY)
    _, fds, _, _ = socket.recv_fds(right, 1, 1)
    with raises(errno.EPERM):  # root neither
        os.write(fds[0], b"verify none\n")
    os.close(fds[0])
    ctl.close()


@test
def limits(agent):
    with open("/sys/module/tlsdev/parameters/max_per_user") as file:
        limit = int(file.read())

    def exhaust():
        fds = [os.open("/dev/tls", os.O_RDWR) for _ in range(limit)]
        with raises(errno.EMFILE):
            os.open("/dev/tls", os.O_RDWR)
        for fd in fds:
            os.close(fd)
        wait_for(lambda: try_open())

    def try_open():
        try:
            os.close(os.open("/dev/tls", os.O_RDWR))
            return True
        except OSError:
            return False

    in_child(exhaust, uid=NOBODY)


# ---- ctl ----

@test
def numbers_read_once(agent):
    ctl = Ctl(agent)
    assert os.read(ctl.fd, 100).strip().isdigit()
    assert os.read(ctl.fd, 100) == b""
    other = Ctl(agent)
    pieces = []
    while piece := os.read(other.fd, 1):
        pieces.append(piece)
    assert pieces[-1] == b"\n" and b"".join(pieces).strip().isdigit()
    other.close()
    ctl.close()


@test
def answers_come_back(agent):
    ctl = Ctl(agent)
    for bad in b"nonsense\n", b"verify none\nnonsense\n", b"x" * 16384:
        with raises(errno.EINVAL):
            os.write(ctl.fd, bad)
    with raises(errno.EINVAL):
        os.write(ctl.fd, b"x" * 16385)
    line = b"verify none\n"
    if (taken := os.write(ctl.fd, line * 2000)) != 16384 // len(line) * len(line):
        raise Failure(f"took {taken} bytes, not the whole lines that fit")
    with raises(errno.ENOTCONN):
        ctl.say("client")
    with raises(errno.ENOTCONN):
        ctl.open("data")
    with raises(errno.EINVAL):
        os.splice(pipe_with(b"verify none\n"), ctl.fd, 100)
    ctl.close()


def pipe_with(data):
    read, write = os.pipe()
    os.write(write, data)
    return read


@test
def descriptors_of_every_kind(agent):
    ctl = Ctl(agent)
    listener = socket.create_server(("127.0.0.1", 0))
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connection = Connection(agent)
    path_only = os.open("/etc/passwd", os.O_PATH)
    poller = select.epoll()
    for number, error in ((9999, errno.EBADF), (path_only, errno.EBADF), (ctl.fd, errno.ELOOP),
                          (connection.fd, errno.ELOOP), (connection.data, errno.ELOOP),
                          (connection.open("ctl"), errno.ELOOP), (listener.fileno(), errno.EOPNOTSUPP),
                          (datagram.fileno(), errno.EOPNOTSUPP), (os.open("/", os.O_RDONLY), errno.EOPNOTSUPP),
                          (os.open("/etc/passwd", os.O_RDONLY), errno.EOPNOTSUPP),
                          (os.open("/dev/null", os.O_RDWR), errno.EOPNOTSUPP),
                          (poller.fileno(), errno.EOPNOTSUPP), (os.memfd_create("x"), errno.EOPNOTSUPP)):
        with raises(error):
            ctl.say(f"fd {number}")
    for words in "", "-1", "3x", "99999999999999999999", "3 4 5", "0x3":
        with raises(errno.EINVAL):
            ctl.say(f"fd {words}")
    connection.finish()
    ctl.close()


@test
def the_writer_may_go(agent):
    """A signal ends the wait with EINTR, and the agent hears of it."""
    ctl = Ctl(agent)
    ctl.name()
    libc = ctypes.CDLL(None, use_errno=True)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    assert libc.write(ctl.fd, b"sleep 2\n", 8) == -1 and ctypes.get_errno() == errno.EINTR
    agent.heard(f"interrupt {ctl.number}")
    timer.join()
    pid = os.fork()
    if pid == 0:
        signal.alarm(0)
        ctl.say("sleep 10")
        os._exit(0)
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    ctl.say("verify none")
    ctl.close()


def threads_in_write():
    """How many threads of ours are in write(2), which is system call 1 here."""
    count = 0
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/syscall", encoding="ascii") as file:
            count += file.read().split()[0] == "1"
    return count


@test
def a_bounded_number_of_writers(agent):
    ctl = Ctl(agent)
    ctl.name()
    writers = [in_thread(ctl.say, "sleep 5") for _ in range(8)]
    # One that came between them would wait for the others' answers.
    wait_for(lambda: threads_in_write() >= len(writers))

    def is_busy():
        try:
            ctl.say("verify none")
        except OSError as error:
            return error.errno == errno.EBUSY
        return False

    wait_for(is_busy)
    for writer in writers:
        writer.finish()
    ctl.say("verify none")
    ctl.close()


@test
def in_the_background(agent):
    """An O_NONBLOCK ctl: EINPROGRESS, then POLLIN, and POLLERR if it failed."""
    for good in True, False:
        ours, theirs = tcp_pair()
        ctl = Ctl(agent, os.O_NONBLOCK)
        ctl.say(f"fd {ours.fileno()}")
        wait_for(lambda: poll_events(ctl.fd) == select.POLLIN)
        with raises(errno.EINPROGRESS):
            ctl.say("client")
        assert poll_events(ctl.fd, 0.2) == 0
        with raises(errno.ENOTCONN):
            ctl.open()
        if good:
            Peer(theirs, server=True).handshake()
        else:
            theirs.sendall(b"no TLS here\n")
        assert poll_events(ctl.fd, 10) == (select.POLLIN if good else select.POLLIN | select.POLLERR)
        if good:
            os.close(ctl.open())
        else:
            with raises(errno.EPROTO):
                ctl.open()
        ctl.close()


@test
def a_failed_handshake_is_remembered(agent):
    ours, theirs = tcp_pair()
    ctl = Ctl(agent)
    ctl.say(f"fd {ours.fileno()}", "timeout 1")
    with raises(errno.ETIMEDOUT):
        ctl.say("client")
    with raises(errno.ETIMEDOUT):
        ctl.open()
    ctl.close()


# ---- the agent ----

@test
def agent_rights(agent):
    with raises(errno.EBUSY):
        os.open("/dev/tlsagent", os.O_RDWR)

    def refused():
        with raises(errno.EACCES):
            os.open("/dev/tlsagent", os.O_RDWR)

    in_child(refused, uid=NOBODY)


@test
def figures(agent):
    connection = Connection(agent, tickets=2)
    write_all(connection.data, bytes(20_000))
    connection.peer.receive_all(20_000)
    connection.peer.send(b"12345")
    assert read_all(connection.data, 5) == b"12345"
    status = agent.query(connection.number)
    assert status["state"] == 3 and status["data_in"] == 5 and status["data_out"] == 20_000, status
    assert status["records_out"] == 2 and status["records_in"] == 3, status
    assert status["wire_out"] > 20_000 and status["wire_in"] > 500, status
    connection.finish()
    agent.heard(f"closed {connection.number}")


@test
def without_agent(agent):
    """Established connections go on, close and hangup work; all else says that nobody is there."""
    established, other = Connection(agent), Connection(agent)
    new = Ctl(agent)
    new.name()
    ours, theirs = tcp_pair()
    waiting = Ctl(agent)
    waiting.say(f"fd {ours.fileno()}")
    handshake = in_thread(waiting.say, "client")
    time.sleep(0.5)
    agent.stop()

    with raises(errno.EUNATCH):
        handshake.finish()
    for ctl in new, waiting:
        with raises(errno.EUNATCH):
            ctl.say("verify none")
        with raises(errno.EUNATCH):
            ctl.open()
        assert poll_events(ctl.fd) & select.POLLERR
    with raises(errno.EUNATCH):
        os.open("/dev/tls", os.O_RDWR)

    echo_both_ways(established)
    with raises(errno.EUNATCH):
        established.say("keyupdate")
    os.close(os.open(established.node("data"), os.O_RDWR))
    established.say("close")
    with raises(errno.EPIPE):
        os.write(established.data, b"x")
    assert established.peer.receive() == b""
    established.peer.send(b"read on")
    assert os.read(established.data, 10) == b"read on"
    other.say("hangup")
    with raises(errno.ECONNRESET):
        os.read(other.data, 10)
    for ctl in new, waiting:
        ctl.close()
    established.finish()
    other.finish()


@test
def a_new_agent_adopts(agent):
    connection = Connection(agent)
    gone = Connection(agent)
    half = Ctl(agent)
    half.name()
    agent.stop()
    gone.finish()
    new = Agent()
    try:
        assert new.heard(f"adopt {connection.number} ") == f"adopt {connection.number} connection {connection.number}"
        assert not any(line.startswith((f"adopt {gone.number} ", f"adopt {half.number} ")) for line in new.lines)
        assert new.query(connection.number)["state"] == 3
        echo_both_ways(connection)
        with raises(errno.EUNATCH):  # what the old one knew of it is lost
            half.say("verify none")
        connection.agent = new
        connection.say("close")
        assert connection.peer.receive() == b""
        connection.finish()
        new.heard(f"closed {connection.number}")
        half.close()
        another = Connection(new)
        echo_both_ways(another)
        another.finish()
    finally:
        new.stop()


@test
def a_hundred_transfers_outlive_the_agent(agent):
    """kill -9 in the middle of a hundred: all complete, bit for bit."""
    connections = [Connection(agent, tickets=1) for _ in range(100)]
    payloads = [random.Random(number).randbytes(200_000) for number in range(100)]

    def send(connection, payload):
        for start in range(0, len(payload), 20_000):
            write_all(connection.data, payload[start:start + 20_000])
        os.close(connection.data)
        connection.data = -1
        connection.close()

    def receive(connection, payload):
        taken = bytearray()
        while piece := connection.peer.receive():
            taken += piece
        assert taken == payload

    threads = []
    for connection, payload in zip(connections, payloads):
        threads.append(in_thread(send, connection, payload))
        threads.append(in_thread(receive, connection, payload))
        if len(threads) == 60:
            agent.stop()
    for thread in threads:
        thread.finish(120)
    for connection in connections:
        connection.finish()


@test
def unloading(agent):
    """Refused while a file is open, clean otherwise, and it can be loaded again."""
    connection = Connection(agent)
    assert subprocess.run(["rmmod", "tlsdev"], capture_output=True).returncode
    agent.stop()
    assert subprocess.run(["rmmod", "tlsdev"], capture_output=True).returncode
    echo_both_ways(connection)
    fd = connection.open(flags=os.O_NONBLOCK)  # leave something to take leave of
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(fd, bytes(30_000))
    os.close(fd)
    os.close(connection.data)
    connection.data = -1
    connection.close()
    subprocess.run(["rmmod", "tlsdev"], check=True)
    assert not os.path.exists("/dev/tls")
    connection.peer.close()
    subprocess.run(["insmod", harness.MODULE], check=True)
    wait_for(lambda: os.path.exists("/dev/tls"))


# ---- the runner ----

def run_one(function):
    agent = Agent()
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("took too long")))
    signal.alarm(getattr(function, "seconds", 180))
    try:
        function(agent)
    finally:
        signal.alarm(0)
        agent.process.kill()
        agent.process.wait()
        wait_for(lambda: not os.path.exists("/dev/tlsagent") or not harness.agent_is_there())


def run_apart(function):
    """In a process of its own: what a test leaves open is closed when it is over."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return {0: "passed", 77: "skipped"}.get(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "failed")
    status = 1
    try:
        run_one(function)
        status = 0
    except Skip as reason:
        print(f"{function.__name__}: {reason}")
        status = 77
    except BaseException:  # noqa: B902 - whatever it is, the test failed
        traceback.print_exc(file=sys.stdout)
    sys.stdout.flush()
    os._exit(status)


def main(names):
    import hostile  # noqa: F401 - registers its tests
    if "--list" in names:
        print("\n".join(function.__name__ for function in TESTS))
        return 0
    chosen = [function for function in TESTS if not names or function.__name__ in names]
    harness.make_certificate()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for function in chosen:
        start = time.monotonic()
        result = run_apart(function)
        counts[result] += 1
        print(f"{result} {function.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
        with open("/dev/kmsg", "w") as log:
            log.write(f"suite: {result} {function.__name__}\n")
    for name in sorted(set(names) - {function.__name__ for function in TESTS}):
        counts["failed"] += 1
        print(f"failed {name}: no such test")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped", flush=True)
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.modules["suite"] = sys.modules["__main__"]
    sys.exit(main(sys.argv[1:]))
