# SPDX-License-Identifier: MIT
"""tlskeyd with identities of a test's own, and its messages by hand."""

import errno
import socket
import struct

from .config import TIMEOUT, program
from .wait import until

CLIENT, SERVER = 0, 1
FIND, TLS13, KEY_EXCHANGE12, HANDSHAKE12 = 1, 2, 3, 4
ECDSA_SHA256, RSA_PSS_SHA256, RSA_PKCS1_SHA256 = 0x0403, 0x0804, 0x0401


def find_message(name, role=SERVER, owner=0, *, version=1, kind=FIND):
    return struct.pack("!BBBIB", version, kind, role, owner, len(name)) + name.encode()


def sign_message(name, leaf, content, *, kind=TLS13, role=SERVER, owner=0, scheme=ECDSA_SHA256, peer="a peer"):
    """`leaf`: the SHA-256 of the certificate. `content`: a hash, randoms and parameters, or messages."""
    return (find_message(name, role, owner, kind=kind) + leaf + struct.pack("!HB", scheme, len(peer)) + peer.encode()
            + content)


# sd_listen_fds(3): the socket is descriptor 3 of the process of this number.
PASS = ("import os, sys\n"
        "if sys.argv[1] != '3': os.dup2(int(sys.argv[1]), 3)\n"
        "os.set_inheritable(3, True)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n")


class Refused(OSError):
    """tlskeyd answered with an errno."""


class Guest:
    """A socket of tlskeyd's."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(TIMEOUT)
        self._socket.connect(str(path))

    def send(self, message):
        self._socket.send(message)

    def ask(self, message):
        """What the answer is, without the zero before it. Refused where it is an error; EOFError where there is none."""
        self.send(message)
        answer = self._socket.recv(1 << 18)
        if not answer:
            raise EOFError("tlskeyd hung up")
        code, = struct.unpack("!I", answer[:4])
        if code:
            raise Refused(code, f"{errno.errorcode[code]} {answer[4:].decode()}")
        return answer[4:]

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Keyd:
    """A running tlskeyd."""

    def __init__(self, case, *options, user=None, environment=None):
        self.case, self.user, self.options, self.environment = case, user, options, environment
        self.dir = case.dir / f"keyd-{len(list(case.dir.glob('keyd-*')))}"
        self.identities = self.dir / "identities.d"
        self.keys = self.dir / "keys"
        for path in (self.dir, self.identities, self.keys):
            path.mkdir()
            path.chmod(0o755)
        self.socket = self.dir / "socket"
        if user is not None:
            for path in (self.dir, self.identities, self.keys):
                user.own(path)
        self.process = None

    def start(self, *, listening=None, stderr=None):
        """`listening`: a socket to be passed as systemd does it."""
        where = ["--private" if self.user else "--socket", self.socket]
        argv = [program("tlskeyd"), *where, "-f", self.identities, *self.options]
        if listening is not None:
            argv = ["python3", "-c", PASS, str(listening.fileno()), *argv]
        self.process = self.case.spawn(argv, user=self.user, environment=self.environment, stderr=stderr,
                                       pass_fds=[] if listening is None else [listening.fileno()])

        def up():
            assert self.process.code() is None, self.process.output()
            try:
                Guest(self.socket).close()
            except OSError:
                return False
            return True
        until(up, "tlskeyd's socket")
        return self

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        return self.process.output()

    def guest(self):
        guest = Guest(self.socket)
        self.case.addCleanup(guest.close)
        return guest

    def place(self, name, content, mode=0o644):
        """A file under `keys`, put in its place by rename."""
        path = self.keys / name
        new = path.with_name(f".{name}.new")
        new.write_bytes(content)
        new.chmod(mode)
        if self.user is not None:
            self.user.own(new)
        new.rename(path)
        return path

    def credential(self, name, leaf):
        """Certificate and key of one of the run's leaves, as `name`."""
        self.place(f"{name}.key", self.case.certs.text(f"{leaf}.key"), 0o600)
        self.place(f"{name}.pem", self.case.certs.text(f"{leaf}.pem"))

    def configure(self, name, text, mode=0o644):
        path = self.identities / f"{name}.conf"
        new = path.with_name(f".{name}.new")
        new.write_text(text)
        new.chmod(mode)
        if self.user is not None:
            self.user.own(new)
        new.rename(path)

    def identity(self, name, leaf="good", *, users="*", roles="client server", key=None, more=""):
        """An identity with a credential of its own."""
        self.credential(name, leaf)
        users = f"users {users}\n" if users else ""
        self.configure(name, f"cert {self.keys}/{name}.pem\nkey {key or f'{self.keys}/{name}.key'}\n{users}roles {roles}\n{more}",
                       0o600 if "pin-value" in (key or "") else 0o644)

    def has(self, name, role=SERVER, owner=0):
        try:
            with Guest(self.socket) as guest:
                guest.ask(find_message(name, role, owner))
        except Refused:
            return False
        return True

    def wait_for(self, name, role=SERVER, owner=0):
        until(lambda: self.has(name, role, owner), f"identity {name}; tlskeyd said: {self.output()}")

    def stop(self, number=15):
        self.process.signal(number)
        return self.process.wait()
