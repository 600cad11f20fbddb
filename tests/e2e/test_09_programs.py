# SPDX-License-Identifier: MIT
"""Point 9: programs that know nothing of TLS speak it through tlsclient and tlssrv, which exec them and are gone."""

import fcntl
import os
import pty
import shlex
import signal
import socket
import ssl
import subprocess
import termios
import time

from harness import TIMEOUT, Case, concurrent, needs_root, program
from harness.certs import NAME
from harness.keys import traces_of
from harness.peers import echo, server_context, tcp_pair, unix_pair
from harness.processes import command, descendants, memory_has
from harness.servers import free_port, listens, nginx, s_server
from harness.wait import until


class Programs(Case):
    """What the tests below share."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()
        os.environ["TLSFS"] = str(self.tlsfs.path)

    def server_options(self, leaf="good"):
        return ["-c", self.certs(f"{leaf}.pem"), "-k", self.certs(f"{leaf}.key")]

    def listener(self, *words, options=(), leaf="good", environment=None):
        """tlssrv that listens and runs a program for each connection."""
        port = free_port()
        argv = [program("tlssrv"), *self.server_options(leaf), *options, "-l", f"127.0.0.1:{port}", *words]
        process = self.spawn(argv, environment=environment)
        until(lambda: process.code() is not None or listens(port), "tlssrv listens")
        process.port = port
        return process

    def tlsclient(self, *words, **options):
        return self.run_program([program("tlsclient"), "-c", self.certs.ca, *words], **options)


class Servers(Programs):
    def test_cat_is_an_echo_server(self):
        server = self.listener("cat")
        done = self.tlsclient(f"localhost:{server.port}", input="there and back\n")
        self.assertRan(done)
        self.assertEqual(done.stdout, "there and back\n")

    def test_a_shell_script_is_a_server(self):
        server = self.listener("dash", "-c", "echo name?; read -r name; echo hello $name")
        done = self.tlsclient(f"localhost:{server.port}", input="you\n")
        self.assertEqual((done.returncode, done.stdout), (0, "name?\nhello you\n"), done.stderr)

    def test_an_http_server_serves_curl(self):
        (self.dir / "www").mkdir()
        (self.dir / "www" / "page.html").write_text("<p>over TLS\n")
        (self.dir / "www" / "big").write_bytes(bytes(range(256)) * 20000)
        server = self.listener("busybox", "httpd", "-i", "-h", self.dir / "www")
        url = f"https://localhost:{server.port}"
        done = self.run_program(["curl", "-sSf", "--http1.0", "--cacert", self.certs.ca, f"{url}/page.html"])
        self.assertRan(done)
        self.assertEqual(done.stdout, "<p>over TLS\n")
        done = self.run_program(["curl", "-sSf", "--cacert", self.certs.ca, "-o", self.dir / "got", f"{url}/big"])
        self.assertRan(done)
        self.assertEqual((self.dir / "got").read_bytes(), (self.dir / "www" / "big").read_bytes())
        self.assertNotEqual(self.run_program(["curl", "-sSf", f"{url}/page.html"]).returncode, 0, "an unknown issuer")

    def test_git_clones_and_pushes_over_it(self):
        here, quiet = self.dir, {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": str(self.dir),
                            "PATH": f"{os.path.dirname(program('tlsclient'))}:{os.environ['PATH']}"}
        script = """
            git init -q -b main work && cd work && seq 100000 >numbers && git add . &&
            git -c user.name=a -c user.email=a@client.test commit -q -m first && cd .. &&
            git clone -q --bare work shared.git
        """
        self.assertRan(self.run_program(["sh", "-ec", script], cwd=here, environment=quiet))
        server = self.listener("git", "daemon", "--inetd", "--export-all", "--enable=receive-pack",
                               f"--base-path={here}", environment=quiet)
        url = f"ext::tlsclient -c {self.certs.ca} localhost:{server.port} %G/shared.git"
        script = """
            git="git -c protocol.ext.allow=always -c user.name=b -c user.email=b@client.test"
            $git clone -q "$1" copy && cd copy && cmp numbers ../work/numbers && seq 200000 >numbers &&
            $git commit -q -a -m second && $git push -q
        """
        self.assertRan(self.run_program(["sh", "-ec", script, "sh", url], cwd=here, environment=quiet))
        done = self.run_program(["git", "--git-dir", "shared.git", "log", "--format=%s"], cwd=here, environment=quiet)
        self.assertEqual(done.stdout, "second\nfirst\n")

    def test_inetd_style_it_wraps_descriptor_0(self):
        for pair in (tcp_pair, unix_pair):
            ours, theirs = pair()
            with ours, theirs:
                server = self.spawn([program("tlssrv"), *self.server_options(), "dash", "-c", "read -r x; echo got $x"],
                                    stdin=theirs)
                theirs.close()
                done = self.tlsclient("-n", NAME, "-F", str(ours.fileno()), input="it\n", pass_fds=[ours.fileno()])
                self.assertEqual((done.returncode, done.stdout), (0, "got it\n"), done.stderr + server.output())
                self.assertEqual(server.wait(), 0)

    def test_ucspi_style_it_wraps_descriptors_0_and_1(self):
        their_in, our_out = os.pipe()
        our_in, their_out = os.pipe()
        server = self.spawn([program("tlssrv"), *self.server_options(), "dash", "-c", "read -r x; echo got $x"],
                            stdin=their_in, stdout=their_out)
        os.close(their_in)
        os.close(their_out)
        done = self.tlsclient("-n", NAME, "-F", f"{our_in},{our_out}", input="it\n", pass_fds=[our_in, our_out])
        self.assertEqual((done.returncode, done.stdout), (0, "got it\n"), done.stderr + server.output())
        os.close(our_in)
        os.close(our_out)
        self.assertEqual(server.wait(), 0, server.output())

    @concurrent
    def test_many_clients_are_served_at_once(self):
        server = self.listener("cat")
        clients = [self.spawn([program("tlsclient"), "-c", self.certs.ca, f"localhost:{server.port}"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(20)]
        for number, client in enumerate(clients):
            client.say(f"client {number}\n")
        for number, client in enumerate(clients):
            self.assertEqual(client.stdout.readline(), f"client {number}\n".encode())
        for client in clients:
            client.stdin.close()
        for client in clients:
            self.assertEqual(client.wait(), 0, client.output())

    def test_a_client_that_fails_its_handshake_does_not_stop_the_server(self):
        server = self.listener("cat")
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port)) as plain:
                plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with socket.create_connection(("127.0.0.1", server.port)):
            done = self.tlsclient(f"localhost:{server.port}", input="still\n")
        self.assertEqual(done.stdout, "still\n", done.stderr)

    def test_client_certificates_are_demanded_with_a(self):
        server = self.listener("sh", "-c", "echo $SSL_PEER_CERT_SUBJECT", options=["-a", self.certs.ca])
        done = self.tlsclient("-C", self.certs("client.pem"), "-K", self.certs("client.key"),
                              f"localhost:{server.port}", input="")
        self.assertIn("client", done.stdout, done.stderr)
        for options in ((), ("-C", self.certs("stranger.pem"), "-K", self.certs("stranger.key"))):
            done = self.tlsclient(*options, f"localhost:{server.port}", "cat")
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(done.stdout, "")


class Clients(Programs):
    def test_a_program_that_reads_and_writes_only_0_and_1_talks_http(self):
        (self.dir / "page").write_text("the page\n")
        server = nginx(self, self.dir)
        script = "printf 'GET /page HTTP/1.0\\r\\n\\r\\n'; cat >&2"
        done = self.tlsclient(f"localhost:{server.port}", "dash", "-c", script)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        self.assertTrue(done.stderr.endswith("the page\n"), done.stderr)

    def test_6_puts_it_on_descriptors_6_and_7(self):
        server = self.listener("cat")
        done = self.tlsclient("-6", f"localhost:{server.port}", "dash", "-c",
                              "echo via 6 and 7 >&7; read -r line <&6; echo \"$line\"")
        self.assertEqual((done.returncode, done.stdout), (0, "via 6 and 7\n"), done.stderr)

    def test_f_wraps_one_or_two_open_descriptors(self):
        ours, theirs = socket.socketpair()
        peer = self.peer(theirs, server_context(self.certs), echo)
        with ours:
            done = self.tlsclient("-n", NAME, "-F", f"{ours.fileno()},{ours.fileno()}", input="wrapped\n",
                                  pass_fds=[ours.fileno()])
        self.assertEqual((done.returncode, done.stdout), (0, "wrapped\n"), done.stderr)
        self.assertEqual(peer.result(), 8)

    def test_a_path_is_dialled_too(self):
        path = self.dir / "socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)

            def accept():
                theirs, _ = listener.accept()
                return self.peer(theirs, server_context(self.certs), echo).result()
            peer = self.background(accept)
            done = self.tlsclient("-n", NAME, path, input="by path\n")
            self.assertEqual((done.returncode, done.stdout), (0, "by path\n"), done.stderr)
            self.assertEqual(peer.result(), 8)


class Sockets(Programs):
    """What a program gets is a socket, and its addresses are those of the connection."""

    # Says what it is on, reads to the end after it has ended its own side, and says what came.
    ASK = """if True:
        import socket, sys
        data = socket.socket(fileno=int(sys.argv[1]))
        print(data.family.name, data.type.name, *data.getpeername()[:2], *data.getsockname()[:2], file=sys.stderr)
        data.sendall(b"asked\\n")
        data.shutdown(socket.SHUT_WR)
        print(data.makefile().read(), end="", file=sys.stderr)
    """

    def test_a_client_has_its_servers_address_and_can_end_its_own_side(self):
        server = self.listener("sh", "-c", "read -r line; cat; echo $line, then the end")
        done = self.tlsclient("-n", NAME, f"127.0.0.1:{server.port}", "python3", "-c", self.ASK, "0")
        self.assertRan(done)
        where, what = done.stderr.splitlines()
        self.assertRegex(where, rf"^AF_INET SOCK_STREAM 127.0.0.1 {server.port} 127.0.0.1 \d+$")
        self.assertEqual(what, "asked, then the end")

    def test_a_server_has_its_clients_address(self):
        script = "import socket; data = socket.socket(fileno=0); print(*data.getpeername(), *data.getsockname()); data.detach()"
        server = self.listener("python3", "-c", script)
        with socket.create_connection(("127.0.0.1", server.port)) as ours:
            done = self.tlsclient("-n", NAME, "-F", str(ours.fileno()), input="", pass_fds=[ours.fileno()])
            self.assertEqual(done.stdout.split(), [str(word) for word in ours.getsockname() + ours.getpeername()], done.stderr)

    def test_what_has_no_address_of_the_internet_has_the_loopbacks(self):
        ours, theirs = unix_pair()
        with ours, theirs:
            server = self.spawn([program("tlssrv"), *self.server_options(), "sh", "-c", "read -r line; cat; echo $line"], stdin=theirs)
            theirs.close()
            done = self.tlsclient("-n", NAME, "-F", str(ours.fileno()), "python3", "-c", self.ASK, "0", pass_fds=[ours.fileno()])
        self.assertRan(done, server.output())
        self.assertRegex(done.stderr, r"^AF_INET6? SOCK_STREAM (127.0.0.1|::1) \d+ (127.0.0.1|::1) \d+\nasked\n$")


class Relay(Programs):
    """tlsclient without a program. Between pipes the companion relays, between files, sockets and terminals tlsclient."""

    def serve(self, script):
        """A server in this process for one connection: (port, what the script comes to)."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def accept():
            theirs, _ = listener.accept()
            return self.peer(theirs, server_context(self.certs), script).result()
        return listener.getsockname()[1], self.background(accept)

    def start(self, port, ends):
        """tlsclient between two pipes, or two sockets: the process, a file to write and one to read, both of bytes."""
        if ends == "pipes":
            process = self.spawn([program("tlsclient"), "-c", self.certs.ca, f"localhost:{port}"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            return process, process.stdin, process.stdout
        ours, theirs = socket.socketpair()
        with theirs:
            process = self.spawn([program("tlsclient"), "-c", self.certs.ca, f"localhost:{port}"], stdin=theirs, stdout=theirs)
        stream = ours.makefile("rwb", buffering=0)
        self.addCleanup(stream.close)
        ours.close()
        return process, stream, stream

    ENDS = ("pipes", "sockets")

    def test_the_peers_end_is_the_end_while_stdin_is_still_open(self):
        def script(peer):
            line = peer.read()
            peer.write(b"bye\n")
            peer.close_notify()
            return line, peer.read()
        for ends in self.ENDS:
            with self.subTest(ends):
                port, peer = self.serve(script)
                process, into, out = self.start(port, ends)
                into.write(b"hello\n")
                into.flush()
                self.assertEqual(out.read(4), b"bye\n")
                self.assertEqual(process.wait(), 0, process.output())
                self.assertEqual(peer.result(), (b"hello\n", b""), "our close_notify came too")

    def test_a_stream_cut_short_is_an_error_after_all_that_came(self):
        for ends in self.ENDS:
            with self.subTest(ends):
                port, _ = self.serve(lambda peer: peer.write(b"half"))
                process, _, out = self.start(port, ends)
                self.assertEqual(out.read(4), b"half")
                self.assertEqual(process.wait(), 98)
                self.assertEqual(len(process.output().splitlines()), 1, process.output())
                self.assertRegex(process.output(), f"localhost:{port}: .")

    def test_what_was_killed_looks_cut_short_to_the_peer(self):
        def script(peer):
            peer.write(b"there")
            try:
                return peer.read_all()
            except ssl.SSLError as error:
                return str(error)
        port, peer = self.serve(script)
        process, into, out = self.start(port, "pipes")
        self.assertEqual(out.read(5), b"there")
        process.signal(signal.SIGKILL)
        process.wait()
        self.assertRegex(peer.result(), "(?i)unexpected.eof")
        self.tlsfs.wait_until_empty()

    def test_a_reader_that_is_gone_ends_it(self):
        for ends in self.ENDS:
            with self.subTest(ends):
                port, _ = self.serve(lambda peer: [peer.write(bytes(1 << 16)) for _ in range(64)])
                process, into, out = self.start(port, ends)
                out.read(1)
                out.close()
                self.assertIn(process.wait(), (-signal.SIGPIPE, 111), process.output())
                self.tlsfs.wait_until_empty()

    def test_much_goes_both_ways_between_pipes_and_between_files(self):
        server = self.listener("cat")
        content = os.urandom(3_000_000)
        (self.dir / "in").write_bytes(content)
        client = f"{shlex.quote(program('tlsclient'))} -c {self.certs.ca} localhost:{server.port}"
        for script in (f"{client} <in >out", f"cat in | {client} | cat >out", f"cat in | {client} >out", f"{client} <in | cat >out"):
            with self.subTest(script):
                self.assertRan(self.run_program(["bash", "-o", "pipefail", "-ec", script], cwd=self.dir))
                self.assertEqual((self.dir / "out").read_bytes(), content)

    def test_a_terminal_stays_as_it_was(self):
        server = self.listener("sed", "-u", "s/^/got /")
        ours, theirs = pty.openpty()
        before = termios.tcgetattr(theirs), fcntl.fcntl(theirs, fcntl.F_GETFL)
        process = self.spawn([program("tlsclient"), "-c", self.certs.ca, f"localhost:{server.port}"], stdin=theirs, stdout=theirs)
        os.write(ours, b"it\n\x04")
        self.assertEqual(process.wait(), 0, process.output())
        self.assertIn(b"got it", os.read(ours, 1000))
        self.assertEqual((termios.tcgetattr(theirs), fcntl.fcntl(theirs, fcntl.F_GETFL)), before)
        os.close(ours)
        os.close(theirs)

    def test_a_pipe_that_nobody_reads_matters_only_when_something_comes(self):
        for script, expected in (("cat >/dev/null", (0,)), ("cat >/dev/null; echo late", (-signal.SIGPIPE, 111))):
            with self.subTest(script):
                server = self.listener("sh", "-c", script)
                (read_end, ours), (theirs, write_end) = os.pipe(), os.pipe()
                process = self.spawn([program("tlsclient"), "-c", self.certs.ca, f"localhost:{server.port}"],
                                     stdin=read_end, stdout=write_end)
                for end in (read_end, write_end, theirs):
                    os.close(end)
                os.write(ours, b"the last word")
                os.close(ours)
                self.assertIn(process.wait(), expected, process.output())

    def test_pipes_stay_blocking(self):
        server = self.listener("cat")
        ends = os.pipe() + os.pipe()
        before = [fcntl.fcntl(end, fcntl.F_GETFL) for end in ends]
        process = self.spawn([program("tlsclient"), "-c", self.certs.ca, f"localhost:{server.port}"], stdin=ends[0], stdout=ends[3])
        os.write(ends[1], b"through")
        self.assertEqual(os.read(ends[2], 7), b"through")
        self.assertEqual([fcntl.fcntl(end, fcntl.F_GETFL) for end in ends], before)
        os.close(ends[1])
        self.assertEqual(process.wait(), 0, process.output())
        for end in (ends[0], *ends[2:]):
            os.close(end)


def answers(path):
    """Does somebody listen at the socket?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as guest:
        return guest.connect_ex(str(path)) == 0


class WithoutMountOrSockets(Programs):
    """The commands, where there is no mount, and where no network namespace can be made."""

    def test_a_companion_without_a_mount_serves_them(self):
        path = self.dir / "socket"
        companion = self.spawn([program("tlsfs"), "-f", "--ca-file", self.certs.ca, "--no-mount", path])
        # The name is there before anybody listens.
        until(lambda: answers(path), "the companion listens")
        os.environ["TLSFS"] = str(path)
        server = self.listener("cat")
        for program_words in ((), ("sh", "-c", "echo there; exec 1>&2; read -r line; echo $line")):
            done = self.tlsclient(f"localhost:{server.port}", *program_words, input="there\n")
            self.assertRan(done)
            self.assertEqual(done.stdout + done.stderr, "there\n")
        refused = self.run_program([program("tlssrv"), "-c", self.certs("good.pem"), "-k", self.certs("rsa.key"), "-l", "127.0.0.1:0", "cat"])
        self.assertEqual(refused.returncode, 98, refused.stderr)
        companion.signal(signal.SIGTERM)
        self.assertEqual(companion.wait(), 0, companion.output())

    # All of it in namespaces of its own: the mount, and a limit that leaves no network namespace.
    SCRIPT = """
        echo 0 >/proc/sys/user/max_net_namespaces
        mkdir tree
        "$tlsfs" -f --ca-file $ca tree 2>log & companion=$!
        while ! [ -e tree/clone ]; do sleep 0.05; done
        export TLSFS=$PWD/tree
        "$tlssrv" -c $cert -k $key -l 127.0.0.1:$port --allow-file cat & server=$!
        while ! (: <>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.05; done
        echo between pipes | "$tlsclient" localhost:$port | cat
        echo from a file >in; "$tlsclient" localhost:$port <in
        "$tlsclient" localhost:$port bash -c 'echo by a program; read -r line; echo "$line" >&2' 2>&1
        kill $server
        "$tlssrv" -c $cert -k $key -l 127.0.0.1:$other cat 2>refused & server=$!
        while ! (: <>/dev/tcp/127.0.0.1/$other) 2>/dev/null; do sleep 0.05; done
        "$tlsclient" localhost:$other bash -c 'read -r line || echo "no answer" >&2' 2>answer
        grep -x 'no answer' answer
        kill $server $companion
        wait
        grep -m 1 -o 'no data socket can be made here' refused
        cat log
    """

    def test_where_no_data_socket_can_be_made_programs_get_the_file_data(self):
        words = {"ca": self.certs.ca, "cert": self.certs("good.pem"), "key": self.certs("good.key"), "port": str(free_port()),
                 "other": str(free_port()),
                 **{name: program(name) for name in ("tlsfs", "tlsclient", "tlssrv")}}
        done = self.run_program(["unshare", "--user", "--map-root-user", "--mount", "bash", "-ec", self.SCRIPT],
                                environment={name: str(word) for name, word in words.items()}, cwd=self.dir)
        if "unshare" in done.stderr:
            self.skipTest(f"no user namespaces here: {done.stderr.strip()}")
        self.assertRan(done)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[:5], ["between pipes", "from a file", "by a program", "no answer",
                                     "no data socket can be made here"], done.stderr)
        self.assertRegex(lines[5], "without data sockets")


class Exits(Programs):
    """Exit codes, and errors in one line."""

    def assertExit(self, code, argv, reason=".", **options):
        done = self.run_program(argv, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertRegex(done.stderr, reason)

    def test_the_programs_own_code_is_the_exit_code(self):
        server = self.listener("cat")
        for code in (0, 1, 42):
            done = self.tlsclient(f"localhost:{server.port}", "sh", "-c", f"exit {code}")
            self.assertEqual(done.returncode, code, done.stderr)

    def test_100_is_wrong_usage(self):
        for argv in (["tlsclient"], ["tlsclient", "--no-such-option", "localhost:1"],
                     ["tlsclient", "-w", "soon", "localhost:1"], ["tlsclient", "localhost"], ["tlsclient", "localhost:65579"], ["tlssrv"], ["tlssrv", "cat"], ["tlssrv", *self.server_options()],
                     ["tlssrv", *self.server_options(), "-l", "nowhere", "cat"], ["tlsfs", "--no-such-option"],
                     ["tlsfs", "--max-connections", "none", str(self.dir)]):
            with self.subTest(" ".join(argv[:3])):
                self.assertExit(100, [program(argv[0]), *argv[1:]])

    def test_111_is_the_system_or_the_network(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            self.assertExit(111, [program("tlsclient"), f"127.0.0.1:{port}", "cat"], "refused")
        self.assertExit(111, [program("tlsclient"), "-c", "/nonexistent.pem", "localhost:1", "cat"], "nonexistent")
        self.assertExit(111, [program("tlssrv"), "-c", "/nonexistent.pem", "-k", self.certs("good.key"), "cat"],
                        "nonexistent")
        server = self.listener("cat")
        self.assertExit(111, [program("tlsclient"), "-c", self.certs.ca, f"localhost:{server.port}", "/nonexistent"],
                        "nonexistent")
        self.assertExit(111, [program("tlsclient"), f"localhost:{server.port}", "cat"], ".",
                        environment={"TLSFS": str(self.dir / "nothing-here"), "TLSFS_AUTOSTART": "0"})
        self.assertExit(111, [program("tlsfs"), "-f", "/nonexistent/place"], "nonexistent")

    def test_98_is_tls(self):
        server = s_server(self, leaf="stranger")
        self.assertExit(98, [program("tlsclient"), "-c", self.certs.ca, f"localhost:{server.port}", "cat"], "issuer")
        ours, theirs = tcp_pair()
        with ours, theirs:
            ours.sendall(b"this is no TLS at all, by any means\n")
            self.assertExit(98, [program("tlssrv"), *self.server_options(), "cat"], stdin=theirs)

    def test_a_timeout_ends_a_silent_handshake(self):
        ours, theirs = tcp_pair()
        with ours, theirs:
            done = self.tlsclient("-w", "1", "-n", NAME, "-F", str(ours.fileno()), "cat", pass_fds=[ours.fileno()])
        self.assertIn(done.returncode, (98, 111), done.stderr)
        self.assertRegex(done.stderr, "(?i)timed out|timeout")


class Environment(Programs):
    SHOW = "for v in PROTO TCPREMOTEIP TCPREMOTEPORT TCPLOCALIP TCPLOCALPORT SSL_PROTOCOL SSL_CIPHER " \
           "SSL_TLS_SNI_SERVERNAME SSL_PEER_CERT_HASH SSL_PEER_CERT_SUBJECT; do eval \"echo $v=\\${$v-unset}\"; done"
    LIES = {name: "inherited" for name in ("SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI_SERVERNAME", "SSL_PEER_CERT_HASH",
                                           "SSL_PEER_CERT_SUBJECT", "TCPREMOTEIP", "TCPLOCALPORT", "PROTO")}

    def parse(self, text):
        return dict(line.split("=", 1) for line in text.splitlines())

    def test_a_server_program_learns_of_its_client(self):
        server = self.listener("sh", "-c", self.SHOW, environment=self.LIES)
        seen = self.parse(self.tlsclient(f"localhost:{server.port}", input="").stdout)
        self.assertEqual(seen["PROTO"], "SSL")
        self.assertEqual(seen["SSL_PROTOCOL"], "TLSv1.3")
        self.assertTrue(seen["SSL_CIPHER"].startswith("TLS_"))
        self.assertEqual(seen["SSL_TLS_SNI_SERVERNAME"], "localhost")
        self.assertEqual((seen["TCPREMOTEIP"], seen["TCPLOCALIP"], seen["TCPLOCALPORT"]),
                         ("127.0.0.1", "127.0.0.1", str(server.port)))
        self.assertTrue(0 < int(seen["TCPREMOTEPORT"]) < 65536)
        self.assertEqual((seen["SSL_PEER_CERT_HASH"], seen["SSL_PEER_CERT_SUBJECT"]), ("unset", "unset"),
                         "what is unknown is unset, not inherited")

    def test_a_client_program_learns_of_its_server(self):
        server = self.listener("cat")
        done = self.tlsclient(f"localhost:{server.port}", "sh", "-c", f"exec >&2; {self.SHOW}", environment=self.LIES)
        seen = self.parse(done.stderr)
        self.assertEqual(seen["SSL_PEER_CERT_HASH"].lower(), self.certs.pin("good"))
        self.assertIn("good", seen["SSL_PEER_CERT_SUBJECT"])
        self.assertEqual(seen["TCPREMOTEPORT"], str(server.port))

    def test_a_name_that_is_no_host_name_is_not_passed_on(self):
        server = self.listener("sh", "-c", self.SHOW, environment=self.LIES)
        for name, seen in (("a-b.test", "a-b.test"), ("$(reboot)", "unset"), ("-n", "unset"), ("a..b", "unset")):
            done = self.run_program(["openssl", "s_client", "-quiet", "-connect", f"localhost:{server.port}", "-servername", name])
            self.assertEqual(self.parse(done.stdout)["SSL_TLS_SNI_SERVERNAME"], seen, done.stderr)

    def test_without_addresses_there_are_no_variables_of_them(self):
        ours, theirs = unix_pair()
        with ours, theirs:
            self.spawn([program("tlssrv"), *self.server_options(), "sh", "-c", self.SHOW], stdin=theirs,
                       environment=self.LIES)
            theirs.close()
            done = self.tlsclient("-n", NAME, "-F", str(ours.fileno()), input="", pass_fds=[ours.fileno()])
        seen = self.parse(done.stdout)
        self.assertEqual((seen["PROTO"], seen["TCPREMOTEIP"], seen["TCPLOCALPORT"]), ("SSL", "unset", "unset"))


class Remains(Programs):
    """After exec nothing of ours is left but the companion."""

    def ours(self):
        """Names of the product's processes below this test, the companion's own aside."""
        found = [command(pid) for pid in descendants(os.getpid())]
        return sorted(name for name in found if name and name.startswith(("tlsclient", "tlssrv")))

    def test_no_process_of_ours_remains_beside_a_program(self):
        server = self.listener("cat")
        until(lambda: self.ours() == ["tlssrv"], "the listener itself, the child that took our probe gone")
        client = self.spawn([program("tlsclient"), "-c", self.certs.ca, f"localhost:{server.port}", "sleep", "1000"])
        until(lambda: command(client.pid) == "sleep", "tlsclient has become sleep")
        until(lambda: [command(pid) for pid in descendants(server.pid)] == ["cat"], "tlssrv's child has become cat")
        self.assertEqual(self.ours(), ["tlssrv"])
        self.assertEqual(descendants(client.pid), [])
        client.signal(signal.SIGKILL)
        client.wait()
        until(lambda: not descendants(server.pid), "cat ends with its connection")
        self.tlsfs.wait_until_empty()

    def test_programs_go_on_when_the_listener_is_stopped(self):
        server = self.listener("cat")
        client = self.spawn([program("tlsclient"), "-c", self.certs.ca, f"localhost:{server.port}"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        client.say("one\n")
        self.assertEqual(client.stdout.readline(), b"one\n")
        server.signal(signal.SIGTERM)
        server.wait()
        client.say("two\n")
        self.assertEqual(client.stdout.readline(), b"two\n")
        client.stdin.close()
        self.assertEqual(client.wait(), 0)


class PassedSockets(Programs):
    """`-l systemd`: the listening sockets come from a service manager, as sd_listen_fds(3) has it."""

    # Puts the descriptors in its first words in their places, and becomes the rest.
    START = 'exec 3<&"$1" 4<&"$2"; shift 2; export LISTEN_PID=$$ LISTEN_FDS=2; exec "$@"'

    def start(self, sockets, *words):
        # Away from the places where they are to be.
        high = [fcntl.fcntl(sock, fcntl.F_DUPFD, 50) for sock in sockets]
        for descriptor in high:
            self.addCleanup(os.close, descriptor)
        return self.spawn(["bash", "-c", self.START, "bash", *high, program("tlssrv"), *self.server_options(),
                           "-l", "systemd", *words], pass_fds=high)

    def listening(self, sock):
        self.addCleanup(sock.close)
        sock.listen()
        return sock

    def test_all_of_them_are_served_and_children_know_nothing_of_them(self):
        tcp = self.listening(socket.create_server(("127.0.0.1", 0)))
        path = self.dir / "listener"
        local = socket.socket(socket.AF_UNIX)
        local.bind(str(path))
        self.listening(local)
        server = self.start([tcp, local], "sh", "-c", "echo ${LISTEN_FDS-unset}; ls /proc/$$/fd; exec cat")
        server.wait_for_output("a local socket")
        for ours in (socket.create_connection(tcp.getsockname()), socket.socket(socket.AF_UNIX)):
            with ours:
                if ours.family == socket.AF_UNIX:
                    ours.connect(str(path))
                done = self.tlsclient("-n", NAME, "-F", str(ours.fileno()), input="hello\n", pass_fds=[ours.fileno()])
                self.assertRan(done)
                seen = done.stdout.split()
                self.assertEqual((seen[0], seen[-1]), ("unset", "hello"))
                self.assertNotIn("3", seen[1:-1], "the listeners are not inherited")
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)

    def test_what_is_no_listener_is_refused(self):
        tcp = self.listening(socket.create_server(("127.0.0.1", 0)))
        ours, theirs = tcp_pair()
        with ours, theirs:
            server = self.start([tcp, ours], "cat")
            self.assertEqual(server.wait(), 111)
        self.assertIn("descriptor 4", server.output())

    def test_none_passed_is_an_error(self):
        done = self.run_program([program("tlssrv"), *self.server_options(), "-l", "systemd", "cat"])
        self.assertEqual(done.returncode, 111)
        self.assertIn("LISTEN_FDS", done.stderr)


class Keys(Programs):
    """A private key is in the companion while its connection lives, and in no other process, and then in none."""

    def companion_has(self, traces):
        return set().union(*(memory_has(pid, traces) for pid in [self.tlsfs.pid, *descendants(self.tlsfs.pid)]))

    def assertWiped(self, traces):
        deadline = time.monotonic() + TIMEOUT
        while (found := self.companion_has(traces)) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.assertEqual(found, set(), "still in the companion's memory")

    @needs_root
    def test_a_servers_key_is_only_in_the_companion_and_wiped_after_the_handshake(self):
        traces = traces_of(self.certs("rsa.key"))
        self.assertEqual(self.companion_has(traces), set())
        server = self.listener("cat", leaf="rsa")
        waiting = socket.create_connection(("127.0.0.1", server.port))  # a handshake that goes on for now
        client = self.spawn([program("tlsclient"), "-c", self.certs.ca, f"localhost:{server.port}"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        client.say("x\n")
        self.assertEqual(client.stdout.readline(), b"x\n")
        until(lambda: self.companion_has(traces), "the scan finds the key while it is in use")
        for pid in [server.pid, *descendants(server.pid), client.pid]:
            self.assertEqual(memory_has(pid, traces), set(), f"the key is in {command(pid)}")
        waiting.close()
        self.assertWiped(traces)
        client.say("y\n")
        self.assertEqual(client.stdout.readline(), b"y\n")
        client.stdin.close()
        client.wait()
        self.tlsfs.wait_until_empty()
        self.assertWiped(traces)

    @needs_root
    def test_a_key_that_was_never_used_is_wiped_too(self):
        traces = traces_of(self.certs("rsa.key"))
        connection = self.tlsfs.connection()
        text = self.certs.text("rsa.key")
        descriptor = os.open(connection.dir / "key", os.O_WRONLY)
        for start in range(0, len(text), 50):
            os.write(descriptor, text[start:start + 50])
        os.close(descriptor)
        del text
        self.assertNotEqual(self.companion_has(traces), set())
        connection.close()
        self.tlsfs.wait_until_empty()
        self.assertWiped(traces)

    @needs_root
    def test_a_key_that_was_replaced_or_refused_is_wiped(self):
        traces = traces_of(self.certs("rsa.key"))
        connection = self.tlsfs.connection()
        connection.put("key", self.certs.text("rsa.key"))
        connection.put("key", self.certs.text("good.key"))
        self.assertWiped(traces)
        garbage = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        try:
            connection.put("key", self.certs.text("rsa.key") + garbage)
        except OSError:
            pass
        connection.close()
        self.tlsfs.wait_until_empty()
        self.assertWiped(traces)
