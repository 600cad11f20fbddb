# SPDX-License-Identifier: MIT
"""The other end of TLS in the test's own process, where every byte on the wire can be touched."""

import os
import select
import socket
import ssl
import struct
import tempfile

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = {"TLSv1.2": TLS12, "TLSv1.3": TLS13}


def server_context(certs, leaf="good", *, version=None, tickets=2, client_ca=None, alpn=None, ciphers=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs(f"{leaf}.pem"), certs(f"{leaf}.key"))
    context.num_tickets = tickets
    _limit(context, version, alpn, ciphers)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context


def client_context(certs, *, version=None, leaf=None, alpn=None, ciphers=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certs.ca)
    if leaf:
        context.load_cert_chain(certs(f"{leaf}.pem"), certs(f"{leaf}.key"))
    _limit(context, version, alpn, ciphers)
    return context


def _limit(context, version, alpn, ciphers):
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # Python's default takes a bare end for close_notify
    if version:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(alpn)
    if ciphers:
        context.set_ciphers(ciphers)


class Peer:
    """One end of TLS over two descriptors. What it would send can be had (sealed), changed and sent by hand."""

    def __init__(self, incoming, outgoing, context, *, name=None):
        self.incoming, self.outgoing = incoming, outgoing
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=name is None, server_hostname=name)
        self.mangle = None  # a function that changes what comes from the wire

    def handshake(self):
        self._do(self.tls.do_handshake)

    def first_flight(self):
        """What a server answers to the client's hello, not sent."""
        while not self._out.pending:
            self._receive()
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
        return self._out.read()

    def read(self, count=1 << 16):
        """Some bytes; b"" only after close_notify. A bare end of the transport raises ssl.SSLError."""
        return self._do(self.tls.read, count)

    def read_exactly(self, count):
        parts = []
        while count:
            part = self.read(min(count, 1 << 20))
            if not part:
                raise EOFError(f"{count} bytes are missing")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def read_all(self):
        parts = []
        while part := self.read():
            parts.append(part)
        return b"".join(parts)

    def write(self, content):
        """Sends in pieces, so that no more than a piece is held as records."""
        for start in range(0, len(content), 1 << 18):
            self.tls.write(content[start:start + (1 << 18)])
            self.flush()

    def close_notify(self):
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()

    def sealed(self, content):
        """The records that carry `content`, not sent."""
        self.flush()
        self.tls.write(content)
        return self._out.read()

    def send(self, raw):
        view = memoryview(raw)
        while view:
            view = view[os.write(self.outgoing, view):]

    def flush(self):
        """Sends what TLS has to say; that nobody hears it any more is for reading to find out."""
        try:
            self.send(self._out.read())
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _do(self, function, *arguments):
        while True:
            try:
                value = function(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                self._receive()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError:
                self.flush()  # the alert that tells the other end
                raise
            else:
                self.flush()
                return value

    def _receive(self):
        raw = os.read(self.incoming, 1 << 18)
        if self.mangle:
            raw = self.mangle(raw)
        if raw:
            self._in.write(raw)
        else:
            self._in.write_eof()


def echo(peer):
    """Sends back what comes until the other end says close_notify, then says it too. Returns how much it was."""
    total = 0
    while part := peer.read():
        peer.write(part)
        total += len(part)
    peer.close_notify()
    return total


def silent(peer):
    """Says nothing and reads nothing until the transport ends."""
    wait_for_end(peer.incoming)


def wait_for_end(descriptor):
    """Waits, reading nothing, until the other end of the transport is gone."""
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    poll.poll()


# Transports: each gives (ours, theirs).

def tcp_pair(family=socket.AF_INET):
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen(1)
        ours = socket.socket(family)
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
    return ours, theirs


def tcp6_pair():
    return tcp_pair(socket.AF_INET6)


def unix_pair():
    """Two ends of a named Unix socket."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/socket")
        listener.listen(1)
        ours = socket.socket(socket.AF_UNIX)
        ours.connect(f"{directory}/socket")
        theirs, _ = listener.accept()
    return ours, theirs


def linger_not(sock):
    """The last close of a TCP socket will send RST in place of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(sock):
    """Ends a TCP connection with RST."""
    linger_not(sock)
    sock.close()
