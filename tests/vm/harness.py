# SPDX-License-Identifier: MIT
"""What the kernel tests share: an agent, a peer whose every byte the test holds, a connection."""
import contextlib
import errno
import os
import select
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

PROGRAMS = os.environ.get("TLSVM_PROGRAMS", "")
MODULE = os.environ.get("TLSVM_MODULE", "")
SCRATCH = tempfile.mkdtemp(prefix="tlsvm")
os.chmod(SCRATCH, 0o755)
CERT, KEY = f"{SCRATCH}/cert.pem", f"{SCRATCH}/key.pem"


class Skip(Exception):
    """The test does not apply here."""


def make_certificate():
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", KEY, "-out", CERT, "-days", "30", "-subj", "/CN=peer", "-addext", "subjectAltName=DNS:peer"],
                   check=True, capture_output=True)
    os.chmod(KEY, 0o644)


@contextlib.contextmanager
def raises(*numbers):
    """The block must fail with one of these errnos."""
    names = "/".join(errno.errorcode[number] for number in numbers)
    try:
        yield
    except OSError as error:
        assert error.errno in numbers, f"{errno.errorcode.get(error.errno, error.errno)}, not {names}"
        return
    raise AssertionError(f"no {names}")


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def in_thread(function, *arguments):
    """Runs it in a thread; join() gives its result or raises what it raised."""
    box = {}

    def run():
        try:
            box["result"] = function(*arguments)
        except BaseException as error:  # noqa: B902 - handed to who joins
            box["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join(seconds=30):
        thread.join(seconds)
        assert not thread.is_alive(), "a thread hangs"
        if "error" in box:
            raise box["error"]
        return box.get("result")

    thread.finish = join
    return thread


def in_child(function, *arguments, uid=None):
    """Runs it in a child process, as another user if asked; its exception text comes back as the failure."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = b""
        try:
            signal.alarm(0)
            os.close(read)
            if uid is not None:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            function(*arguments)
        except BaseException as error:  # noqa: B902
            text = f"{type(error).__name__}: {error}".encode()
        os.write(write, text)
        os._exit(bool(text))
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    assert not text, text.decode()


class Agent:
    """The stand-in agent, and the device numbers that it was told."""

    def __init__(self):
        self.process = subprocess.Popen([f"{PROGRAMS}/agent", CERT, KEY], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.lines = []
        self.lock = threading.Condition()
        ready = self.process.stdout.readline().split()
        assert ready and ready[0] == "ready", "the agent does not start"
        self.ctl_major, self.data_major = int(ready[1]), int(ready[2])
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self):
        for line in self.process.stdout:
            with self.lock:
                self.lines.append(line.strip())
                self.lock.notify_all()

    def heard(self, start, end="", seconds=10):
        """The first line so far that begins and ends so, waited for."""
        with self.lock:
            found = lambda: next((line for line in self.lines if line.startswith(start) and line.endswith(end)), None)
            assert self.lock.wait_for(lambda: found() is not None, seconds), f"the agent never said {start!r} {end!r}"
            return found()

    def query(self, number):
        with self.lock:
            self.lines = [line for line in self.lines if not line.startswith(f"status {number} ")]
        self.process.stdin.write(f"query {number}\n")
        self.process.stdin.flush()
        words = self.heard(f"status {number} ").split()[2:]
        return {key: int(value) for key, value in (word.split("=") for word in words)}

    def stop(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()
        wait_for(lambda: not agent_is_there())


def agent_is_there():
    try:
        os.close(os.open("/dev/tlsagent", os.O_RDWR))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False


class Peer:
    """A TLS end in this process, whose records pass through our hands."""

    def __init__(self, sock, server, version="1.3", tickets=2, ciphers=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = (
            ssl.TLSVersion.TLSv1_3 if version == "1.3" else ssl.TLSVersion.TLSv1_2)
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        if ciphers:
            context.set_ciphers(ciphers)
        if server:
            context.load_cert_chain(CERT, KEY)
            if version == "1.3":
                context.num_tickets = tickets
        else:
            context.load_verify_locations(CERT)
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server,
                                    server_hostname=None if server else "peer")

    def flush(self):
        while self.outgoing.pending:
            self.sock.sendall(self.outgoing.read())

    def run(self, step, *arguments):
        while True:
            try:
                result = step(*arguments)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                received = self.sock.recv(65536)
                self.incoming.write(received) if received else self.incoming.write_eof()

    def handshake(self):
        self.run(self.tls.do_handshake)
        return self

    def send(self, data):
        self.run(self.tls.write, data)

    def records(self, data):
        """`data` as records, not sent."""
        self.tls.write(data)
        return self.outgoing.read()

    def receive(self, count=65536):
        """Bytes; b'' after close_notify. A stream that breaks off raises SSLEOFError."""
        try:
            return self.run(self.tls.read, count)
        except ssl.SSLZeroReturnError:
            return b""

    def receive_all(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.receive()
            assert piece, f"the stream ended after {len(data)} of {count} bytes"
            data += piece
        return data

    def close_notify(self):
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()

    def close(self):
        self.sock.close()


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for end in ours, theirs:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


class Ctl:
    """An open /dev/tls."""

    def __init__(self, agent, flags=0):
        self.agent = agent
        self.fd = os.open("/dev/tls", os.O_RDWR | os.O_CLOEXEC | flags)
        self.number = None

    def say(self, *lines):
        text = "".join(line + "\n" for line in lines).encode()
        assert os.write(self.fd, text) == len(text)

    def name(self):
        if self.number is None:
            self.number = int(os.read(self.fd, 100))
        return self.number

    def node(self, kind):
        path = f"{SCRATCH}/{self.name()}.{kind}"
        major = self.agent.ctl_major if kind == "ctl" else self.agent.data_major
        with contextlib.suppress(FileExistsError):
            os.mknod(path, 0o666 | 0o020000, os.makedev(major, self.name()))
            os.chmod(path, 0o666)
        return path

    def open(self, kind="data", flags=0):
        return os.open(self.node(kind), os.O_RDWR | os.O_CLOEXEC | flags)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Connection(Ctl):
    """An established one: `data` is its data's descriptor, `peer` the other end."""

    def __init__(self, agent, role="client", version="1.3", tickets=2, ciphers=None, peer_ciphers=None, keep_transport=False):
        super().__init__(agent)
        ours, theirs = tcp_pair()
        self.peer = Peer(theirs, server=role == "client", version=version, tickets=tickets, ciphers=peer_ciphers)
        thread = in_thread(self.peer.handshake)
        lines = [f"fd {ours.fileno()}", f"version {version}"]
        if ciphers:
            lines.append(f"ciphers {ciphers}")
        self.say(*lines, role)
        thread.finish()
        self.transport = ours if keep_transport else ours.close()
        self.data = self.open()

    def finish(self):
        for fd in (self.data,) if self.data >= 0 else ():
            os.close(fd)
        self.data = -1
        self.close()
        self.peer.close()


def read_all(fd, count):
    data = bytearray()
    while len(data) < count:
        piece = os.read(fd, 1 << 20)
        assert piece, f"end of file after {len(data)} of {count} bytes"
        data += piece
    return data


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def poll_events(fd, seconds=0, events=select.POLLIN):
    poller = select.poll()
    poller.register(fd, events)
    return dict(poller.poll(int(seconds * 1000))).get(fd, 0)
