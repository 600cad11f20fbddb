# SPDX-License-Identifier: MIT
"""Point 20: programs and runtimes as they are, on the file `data` and on a data socket. The table is docs/PROGRAMS.md.

git, rsync with a proxy command, redis and HTTP servers: test_09_programs.py, test_16_examples.py, test_17_tunnel.py.
"""

import functools
import os
import re
import shlex
import shutil
import smtplib
import socket
import ssl
import subprocess

from harness import TIMEOUT, Case, needs_root, program
from harness.certs import NAME
from harness.peers import server_context, tcp_pair
from harness.servers import free_port, listens, nginx
from harness.wait import until

PLAIN_SIDES = ("data", "socket")


def where(name):
    """The path of a program, in an administrator's directory too; None if it is missing."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def needs(*names):
    """Skips the test where one of the programs is missing."""
    def mark(test):
        @functools.wraps(test)
        def run(self):
            for name in names:
                if where(name) is None:
                    self.skipTest(f"no {name}")
            test(self)
        return run
    return mark


class RealPrograms(Case):
    """What the tests below share."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()
        os.environ["TLSFS"] = str(self.tlsfs.path)

    def on(self, side, script, *argv):
        """Runs a client program whose stdin and stdout are the plain side: (what it did, what the peer's script gave)."""
        if side == "data":
            connection, peer = self.connect(self.tlsfs, script)
            data = connection.data()
            done = subprocess.run([str(word) for word in argv], stdin=data, stdout=data, stderr=subprocess.PIPE, text=True,
                                  errors="replace", timeout=TIMEOUT * 2, start_new_session=True)
            connection.close()
        else:
            ours, theirs = tcp_pair()
            peer = self.peer(theirs, server_context(self.certs), script)
            with ours:
                done = self.run_program([program("tlsclient"), "-c", self.certs.ca, "-n", NAME, "-F", ours.fileno(), *argv],
                                        pass_fds=[ours.fileno()])
        return done, peer.result()

    def serve(self, *argv):
        """tlssrv that runs a program for each connection."""
        port = free_port()
        server = self.spawn([program("tlssrv"), "-c", self.certs("good.pem"), "-k", self.certs("good.key"),
                             "-l", f"127.0.0.1:{port}", *argv])
        until(lambda: server.code() is not None or listens(port), "tlssrv listens")
        server.port = port
        return server

    def tunnel_to(self, port):
        """A client tunnel to a TLS server of this machine: the plain port."""
        plain = free_port()
        tunnel = self.spawn([program("tlstunnel"), "client", "-l", f"127.0.0.1:{plain}", "-t", f"localhost:{port}",
                             "--ca-file", self.certs.ca])
        tunnel.wait_for_output("listening on")
        return plain


def read_line(peer):
    line = b""
    while not line.endswith(b"\n"):
        line += peer.read_exactly(1)
    return line


class Languages(RealPrograms):
    """Each asks in a line, reads the answer and then the end of file, by its own buffered input and output."""

    def converse(self, *argv):
        def script(peer):
            asked = read_line(peer)
            peer.write(b"an answer\n")
            peer.close_notify()
            return asked, peer.read_all()
        for side in PLAIN_SIDES:
            with self.subTest(side):
                done, (asked, more) = self.on(side, script, *argv)
                self.assertEqual((done.returncode, done.stderr), (0, "an answer, then the end\n"))
                self.assertEqual((asked, more), (b"a question\n", b""))

    SHELL = 'echo a question; read -r line; ! read -r more; echo "$line, then the end" >&2'

    def test_bash(self):
        self.converse("bash", "-ec", self.SHELL)

    @needs("dash")
    def test_dash(self):
        self.converse("dash", "-ec", self.SHELL)

    @needs("busybox")
    def test_busybox_sh(self):
        self.converse("busybox", "sh", "-ec", self.SHELL)

    @needs("perl")
    def test_perl(self):
        self.converse("perl", "-e", """
            $| = 1; print "a question\\n"; chomp($line = <STDIN>); defined(<STDIN>) and die "more";
            print STDERR "$line, then the end\\n"
        """)

    @needs("lua5.4")
    def test_lua(self):
        self.converse("lua5.4", "-e", """
            io.write("a question\\n") io.flush() local line = io.read() assert(not io.read())
            io.stderr:write(line, ", then the end\\n")
        """)

    def test_python(self):
        self.converse("python3", "-Sc", """if True:
            import sys
            print("a question", flush=True)
            line = input()
            sys.stdin.read() and sys.exit("more")
            print(f"{line}, then the end", file=sys.stderr)
        """)

    @needs("ruby")
    def test_ruby(self):
        self.converse("ruby", "--disable-gems", "-e", """
            $stdout.sync = true; puts "a question"; line = gets.chomp; gets and abort "more"
            warn "#{line}, then the end"
        """)

    @needs("node")
    def test_node(self):
        self.converse("node", "-e", """
            let all = ""
            process.stdout.write("a question\\n")
            process.stdin.on("data", part => all += part)
            process.stdin.on("end", () => console.error(all.trimEnd() + ", then the end"))
        """)

    @needs("tclsh")
    def test_tcl(self):
        script = self.dir / "script.tcl"
        script.write_text("""
            fconfigure stdout -translation lf  ;# else lines end in CR LF on a socket
            puts "a question"; flush stdout; gets stdin line
            if {[gets stdin more] >= 0} { error more }
            puts stderr "$line, then the end"
        """)
        self.converse("tclsh", script)


class Tools(RealPrograms):
    """Programs of every day read a stream to its end, or a part of it, and write one."""

    TEXT = b"".join(b"line %d\n" % number for number in range(20000))

    def send(self, peer):
        """Sends the text, and does not mind a reader that has had enough."""
        try:
            peer.write(self.TEXT)
            peer.close_notify()
            return peer.read_all()
        except (ssl.SSLError, OSError):
            return None

    def reads(self, command, expected):
        for side in PLAIN_SIDES:
            with self.subTest(side):
                done, _ = self.on(side, self.send, "sh", "-ec", f"exec {command} >&2")
                self.assertEqual((done.returncode, done.stderr), (0, expected))

    def test_cat(self):
        self.reads("cat", self.TEXT.decode())

    def test_head(self):
        for side in PLAIN_SIDES:
            with self.subTest(side):
                done, _ = self.on(side, self.send, "sh", "-ec", "head -n 2 >&2")
                # It wants to give a file back what it has read too much, cannot, and says so; with a socket it does not try.
                said = re.sub("^head: .*seek.*\n", "", done.stderr) if side == "data" else done.stderr
                self.assertEqual((done.returncode, said), (0, "line 0\nline 1\n"))

    def test_grep(self):
        self.reads("grep 77$", "".join(f"line {number}\n" for number in range(77, 20000, 100)))

    def test_sed_and_awk(self):
        self.reads("sed -n '$p'", "line 19999\n")
        self.reads("awk 'END { print NR }'", "20000\n")

    def test_sort_and_wc(self):
        self.reads("wc -l", "20000\n")
        self.reads("sort -u -k1,1", "line 0\n")

    def test_dd(self):
        self.reads(f"dd status=none iflag=fullblock bs={len(self.TEXT)} count=1", self.TEXT.decode())

    def test_tee(self):
        copy = self.dir / "copy"
        self.reads(f"tee {copy}", self.TEXT.decode())
        self.assertEqual(copy.read_bytes(), self.TEXT)

    def test_they_write(self):
        source = self.dir / "source"
        source.write_bytes(self.TEXT)
        for command in (f"cat {source}", f"dd status=none bs=64k if={source}", f"tee /dev/null <{source}", f"grep '' {source}"):
            for side in PLAIN_SIDES:
                with self.subTest(command, side=side):
                    done, got = self.on(side, lambda peer: peer.read_all(), "sh", "-ec", f"exec {command}")
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertEqual(got, self.TEXT)

    def test_a_stream_cut_short_is_their_error(self):
        for command in ("cat", "grep line", "sort", "dd status=none", "tee"):
            for side in PLAIN_SIDES:
                with self.subTest(command, side=side):
                    done, _ = self.on(side, self.cut, "sh", "-ec", f"echo go; exec {command} >&2")
                    self.assertNotEqual(done.returncode, 0)
                    self.assertIn("onnection reset", done.stderr)
                    if command != "sort":
                        self.assertIn("line 0\n", done.stderr)

    @staticmethod
    def cut(peer):
        peer.read_exactly(1)
        peer.write(b"line 0\n")


class Sockets(RealPrograms):
    """Runtimes use a data socket as the socket it is; `data` is a file, and they say that it is none."""

    def converse(self, *argv, refusal="ENOTSOCK|Socket operation on non-socket"):
        def script(peer):
            asked = read_line(peer)
            more = peer.read_all()  # their half is closed
            peer.write(b"an answer\n")
            peer.close_notify()
            return asked, more
        done, got = self.on("socket", script, *argv)
        self.assertEqual((done.returncode, done.stderr), (0, "127.0.0.1: an answer\n"))
        self.assertEqual(got, (b"a question\n", b""))
        if refusal:
            done, _ = self.on("data", lambda peer: peer.read_all(), *argv)
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stderr, refusal)

    def test_python_socket(self):
        self.converse("python3", "-c", """if True:
            import socket, sys
            data = socket.socket(fileno=0)
            peer = data.getpeername()[0]  # once both sides have ended TCP knows no peer
            data.sendall(b"a question\\n")
            data.shutdown(socket.SHUT_WR)
            print(peer, data.recv(100, socket.MSG_WAITALL).decode(), sep=": ", end="", file=sys.stderr)
        """)

    def test_python_asyncio(self):
        self.converse("python3", "-c", """if True:
            import asyncio, socket, sys
            async def main():
                reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=0))
                writer.write(b"a question\\n")
                writer.write_eof()
                text = await reader.read()
                print(writer.get_extra_info("peername")[0], text.decode(), sep=": ", end="", file=sys.stderr)
                writer.close()
            asyncio.run(main())
        """)

    def test_python_selectors(self):
        self.converse("python3", "-c", """if True:
            import selectors, socket, sys
            data = socket.socket(fileno=0)
            peer = data.getpeername()[0]
            data.setblocking(False)
            with selectors.DefaultSelector() as selector:
                selector.register(data, selectors.EVENT_WRITE)
                selector.select()
                data.sendall(b"a question\\n")
                data.shutdown(socket.SHUT_WR)
                selector.modify(data, selectors.EVENT_READ)
                text, part = b"", b"x"
                while part:
                    selector.select()
                    part = data.recv(4)
                    text += part
            print(peer, text.decode(), sep=": ", end="", file=sys.stderr)
        """)

    @needs("perl")
    def test_perl_socket(self):
        self.converse("perl", "-MSocket", "-e", """
            open($data, "+<&=", 0); getpeername($data) || die "$!"; ($port, $address) = sockaddr_in(getpeername($data));
            send($data, "a question\\n", 0) && shutdown($data, 1) || die "$!";
            recv($data, $text, 100, MSG_WAITALL) // die "$!"; print STDERR inet_ntoa($address), ": $text"
        """)

    @needs("ruby")
    def test_ruby_socket(self):
        self.converse("ruby", "--disable-gems", "-rsocket", "-e", """
            data = Socket.for_fd(0); peer = data.remote_address.ip_address
            data.send("a question\\n", 0); data.close_write; $stderr.print peer, ": ", data.read
        """, refusal="not a socket file descriptor")

    @needs("node")
    def test_node_socket(self):
        self.converse("node", "-e", """
            const data = new (require("net").Socket)({fd: 0, allowHalfOpen: true}), peer = data.remoteAddress
            let text = ""
            data.on("data", part => text += part)
            data.on("end", () => process.stderr.write(peer + ": " + text))
            data.end("a question\\n")
        """, refusal="ERR_INVALID_FD_TYPE")

    @needs("socat")
    def test_socat(self):
        # As a server it connects what it is given with another program, both directions at once.
        server = self.serve("socat", "STDIO", "EXEC:tr a-z A-Z,pipes")
        done = self.run_program([program("tlsclient"), "-c", self.certs.ca, f"localhost:{server.port}"], input="text\n" * 3000)
        self.assertRan(done)
        self.assertEqual(done.stdout, "TEXT\n" * 3000)


HAPROXY = """
defaults
    mode http
    timeout connect 30s
    timeout client 30s
    timeout server 30s
listen all
    bind 127.0.0.1:{port}
    server tunnel 127.0.0.1:{plain}
"""


class ProxyCommands(RealPrograms):
    """Clients that only connect, with tlsclient started for each connection, or with a tunnel."""

    @needs("socat", "curl", "nginx")
    def test_curl_over_a_proxy_command_of_socat(self):
        (self.dir / "page").write_text("the page\n")
        server, plain = nginx(self, self.dir), free_port()
        self.spawn(["socat", f"TCP-LISTEN:{plain},bind=127.0.0.1,fork,reuseaddr",
                    f"EXEC:tlsclient -c {self.certs.ca} localhost\\:{server.port}"],
                   environment={"PATH": f"{os.path.dirname(program('tlsclient'))}:{os.environ['PATH']}"})
        until(lambda: listens(plain), "socat listens")
        done = self.run_program(["curl", "-sSf", f"http://127.0.0.1:{plain}/page"])
        self.assertEqual((done.returncode, done.stdout), (0, "the page\n"), done.stderr)

    @needs("nc")
    def test_nc_through_a_tunnel(self):
        plain = self.tunnel_to(self.serve("sh", "-c", "read -r line; cat; echo $line").port)
        done = self.run_program(["nc", "-N", "127.0.0.1", plain], input="first\nsecond\n")
        self.assertEqual((done.returncode, done.stdout), (0, "second\nfirst\n"), done.stderr)

    @needs("nginx", "curl")
    def test_nginx_as_a_client_of_a_tunnel(self):
        plain = self.tunnel_to(self.upstream())
        self.assertServes(nginx(self, self.dir / "nothing", extra=f"location / {{ proxy_pass http://127.0.0.1:{plain}; }}").port,
                          "https")

    @needs("haproxy", "nginx", "curl")
    def test_haproxy_as_a_client_of_a_tunnel(self):
        plain, port, config = self.tunnel_to(self.upstream()), free_port(), self.dir / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=port, plain=plain))
        process = self.spawn([where("haproxy"), "-db", "-f", config])
        until(lambda: process.code() is not None or listens(port), "haproxy listens")
        self.assertIsNone(process.code(), process.output())
        self.assertServes(port, "http")

    def upstream(self):
        (self.dir / "page").write_text("through a tunnel\n" * 10000)
        return nginx(self, self.dir).port

    def assertServes(self, port, scheme):
        for _ in range(2):
            done = self.run_program(["curl", "-sSf", "--cacert", self.certs.ca, f"{scheme}://localhost:{port}/page"])
            self.assertEqual((done.returncode, done.stdout), (0, "through a tunnel\n" * 10000), done.stderr)

    @needs_root
    @needs("ssh", "sshd", "ssh-keygen")
    def test_ssh_with_a_proxy_command_and_sshd_behind_tlssrv(self):
        for name in ("host", "user"):
            self.assertRan(self.run_program(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.dir / name]))
        (self.dir / "known").write_text("there " + (self.dir / "host.pub").read_text())
        config = self.dir / "sshd_config"
        config.write_text(f"HostKey {self.dir}/host\nAuthorizedKeysFile {self.dir}/user.pub\nUsePAM no\nStrictModes no\n"
                          "PermitRootLogin yes\nPidFile none\nPrintMotd no\n")
        if not os.path.isdir("/run/sshd"):  # sshd insists on it
            os.mkdir("/run/sshd", mode=0o755)
            self.addCleanup(os.rmdir, "/run/sshd")
        server = self.serve(where("sshd"), "-i", "-e", "-f", config)
        done = self.run_program(
            ["ssh", "-F", "none", "-i", self.dir / "user", "-o", f"UserKnownHostsFile={self.dir}/known", "-o", "BatchMode=yes",
             "-o", f"ProxyCommand={program('tlsclient')} -c {self.certs.ca} localhost:{server.port}",
             "root@there", "echo $SSH_CONNECTION; cat"], input="over ssh over TLS\n")
        self.assertRan(done, server.output())
        self.assertRegex(done.stdout, rf"^127\.0\.0\.1 \d+ 127\.0\.0\.1 {server.port}\nover ssh over TLS\n$")


EXIM = """
primary_hostname = {name}
spool_directory = {dir}
log_file_path = {dir}/%slog
host_lookup =
rfc1413_hosts =
queue_only
acl_smtp_rcpt = recipient
begin acl
recipient:
    accept hosts = :
    accept domains = {name}
    deny message = relay not permitted
begin routers
begin transports
"""


class Servers(RealPrograms):
    """Servers in inetd's manner take who connects for who that is, and not for a user of this machine."""

    CLIENT = "127.0.0.2"  # nobody else's: what is taken for local has another, or none

    @needs_root
    @needs("exim4")
    def test_exim_knows_the_clients_address_and_does_not_relay(self):
        place = self.dir / "exim"
        place.mkdir()
        config = place / "exim.conf"
        config.write_text(EXIM.format(dir=place, name=NAME))
        self.assertRan(self.run_program(["chown", "-R", "Debian-exim", place]))
        os.chown(config, 0, 0)
        server = self.serve(where("exim4"), "-bs", "-C", config)
        context = ssl.create_default_context(cafile=self.certs.ca)
        with smtplib.SMTP_SSL("localhost", server.port, source_address=(self.CLIENT, 0), context=context, timeout=30) as mail:
            mail.ehlo("client.test")
            mail.mail("a@client.test")
            # Whom exim takes for local, it would let send anywhere: "hosts = :" is who has no address.
            code, said = mail.rcpt("c@elsewhere.test")
            self.assertEqual((code, said), (550, b"relay not permitted"))
            self.assertEqual(mail.rcpt(f"b@{NAME}")[0], 250)
            self.assertEqual(mail.data("Subject: hello\r\n\r\ntext\r\n")[0], 250)
        header, = (place / "input").glob("*-H")
        received = re.search(r"Received: .*?(?=\n\d)", header.read_text(), re.S)[0]
        self.assertIn(f"from [{self.CLIENT}] (helo=client.test)", received)

    @needs("rsync")
    def test_rsync_daemon_sees_a_socket_and_logs_the_clients_address(self):
        there, here, config, log = (self.dir / name for name in ("there", "here", "rsyncd.conf", "log"))
        there.mkdir()
        (there / "file").write_bytes(os.urandom(300000))
        config.write_text(f"use chroot = no\nlog file = {log}\nreverse lookup = no\n"
                          f"[module]\npath = {there}\nuid = {os.getuid()}\ngid = {os.getgid()}\n")
        server = self.serve("rsync", "--daemon", f"--config={config}")
        self.assertRan(self.run_program(
            ["rsync", "-a", "rsync://localhost/module/", here],
            environment={"RSYNC_CONNECT_PROG": f"{shlex.quote(program('tlsclient'))} -c {self.certs.ca} localhost:{server.port}"}))
        self.assertEqual((here / "file").read_bytes(), (there / "file").read_bytes())
        until(lambda: re.search(r"connect from \S+ \(127\.0\.0\.1\)", log.read_text()), "the client in the log")
