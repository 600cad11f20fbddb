# SPDX-License-Identifier: MIT
"""What stands in examples/ works as its first lines say."""

import os
import re
import shlex
import shutil
import socket

from harness import Case, needs_root, program
from harness.certs import NAME
from harness.config import BUILD, HERE
from harness.servers import exim, free_port, listens, nginx, s_server
from harness.wait import until

EXAMPLES = HERE.parent.parent / "examples"
COMMANDS = BUILD / "cmd"


class Examples(Case):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()
        # As after `meson install`: the commands are in PATH, the tree is found.
        self.environment = {"TLSFS": str(self.tlsfs.path), "PATH": f"{COMMANDS}:{os.environ['PATH']}",
                            "CA": str(self.certs.ca)}

    def example(self, name, *words, **options):
        built = BUILD / "examples" / name
        path = built if built.exists() else EXAMPLES / name
        options["environment"] = {**self.environment, **options.get("environment", {})}
        done = self.run_program([path, *words], **options)
        self.assertRan(done)
        return done.stdout

    def server(self, *words, options=()):
        port = free_port()
        process = self.spawn([program("tlssrv"), "-c", self.certs("good.pem"), "-k", self.certs("good.key"), *options,
                              "-l", f"127.0.0.1:{port}", *words], environment=self.environment)
        until(lambda: process.code() is not None or listens(port), "tlssrv listens")
        return port


class Shells(Examples):
    def test_https_get_in_bash_and_in_sh(self):
        (self.dir / "www").mkdir()
        (self.dir / "www" / "small").write_text("hello\n")
        server = nginx(self, self.dir / "www")
        for name in ("https-get.bash", "https-get.sh"):
            said = self.example(name, "localhost", server.port, "/small")
            self.assertTrue(said.startswith("HTTP/1.1 200 OK"), said)
            self.assertTrue(said.endswith("\nhello\n"), said)

    def test_a_certificate_that_is_not_trusted_is_said(self):
        server = s_server(self, leaf="stranger")
        for name in ("https-get.bash", "https-get.sh"):
            done = self.run_program([EXAMPLES / name, "localhost", server.port], environment=self.environment)
            self.assertEqual(done.returncode, 98, done.stderr)
            self.assertIn("Error: ", done.stderr)

    @needs_root
    def test_mail_by_starttls(self):
        try:
            server = exim(self, NAME)
        except FileNotFoundError as error:
            self.skipTest(f"no SMTP server: {error}")
        self.example("smtp-starttls.bash", "localhost", server.port, "a@client.test", "b@server.test",
                     input="Subject: hello\n\n.a line that begins with a dot\n")
        log = self.dir / "exim" / "mainlog"
        until(lambda: "<= a@client.test" in log.read_text(), "the mail in exim's log")


class Programs(Examples):
    def quiet(self):
        return {**self.environment, "HOME": str(self.dir), "GIT_CONFIG_NOSYSTEM": "1"}

    def test_git(self):
        here = self.dir / "git"
        here.mkdir()
        self.assertRan(self.run_program(["sh", "-ec", """
            git init -q -b main work; cd work; seq 1000 >numbers; git add .
            git -c user.name=a -c user.email=a@client.test commit -q -m first; cd ..
            git clone -q --bare work shared.git"""], cwd=here, environment=self.quiet()))
        port = self.server("git", "daemon", "--inetd", "--export-all", f"--base-path={here}")
        self.assertRan(self.run_program(["git", "clone", "-q", f"git://localhost:{port}/shared.git", "copy"], cwd=here,
                                        environment={**self.quiet(), "GIT_PROXY_COMMAND": str(EXAMPLES / "git-proxy")}))
        self.assertEqual((here / "copy" / "numbers").read_text(), (here / "work" / "numbers").read_text())

    def test_rsync(self):
        if shutil.which("rsync") is None:
            self.skipTest("no rsync")
        there, here, config = self.dir / "there", self.dir / "here", self.dir / "rsyncd.conf"
        there.mkdir()
        (there / "file").write_bytes(os.urandom(3 << 20))
        config.write_text(f"use chroot = no\n[module]\npath = {there}\nuid = {os.getuid()}\ngid = {os.getgid()}\n")
        port = self.server("rsync", "--server", "--daemon", f"--config={config}", ".")
        self.assertRan(self.run_program(
            ["rsync", "-a", "rsync://localhost/module/", here],
            environment={**self.environment, "RSYNC_CONNECT_PROG": f"{shlex.quote(str(EXAMPLES / 'rsync-connect'))} %H {port}"}))
        self.assertEqual((here / "file").read_bytes(), (there / "file").read_bytes())

    def test_redis_through_tunnels(self):
        if shutil.which("redis-server") is None:
            self.skipTest("no redis-server")
        where = self.dir / "redis"
        self.spawn(["redis-server", "--port", "0", "--unixsocket", where, "--dir", self.dir, "--save", ""])
        until(where.exists, "redis-server's socket")
        secured, plain = free_port(), free_port()
        self.tunnel("server", "-c", self.certs("good.pem"), "-k", self.certs("good.key"), "-l", f":{secured}", "-t", where)
        self.tunnel("client", "-l", f"127.0.0.1:{plain}", "-t", f"localhost:{secured}", "--ca-file", self.certs.ca)
        for words, answer in ((("set", "key", "value"), "OK"), (("get", "key"), "value")):
            done = self.run_program(["redis-cli", "-p", plain, *words])
            self.assertEqual(done.stdout.strip(), answer, done.stderr)

    def tunnel(self, *words):
        process = self.spawn([program("tlstunnel"), *words], environment=self.environment)
        process.wait_for_output("listening on")

    def test_what_takes_the_place_of_stunnel(self):
        text = (EXAMPLES / "from-stunnel.md").read_text()
        secured, plain = free_port(), free_port()
        with socket.create_server(("127.0.0.1", 0)) as target:
            # What stands there, with this test's addresses and files in place of its own.
            places = {":6380": f":{secured}", "127.0.0.1:6379": f"127.0.0.1:{plain}",
                      "db1.example.com": "no-such-host.invalid", "db2.example.com": "127.0.0.1", "db.example.com": NAME, "/etc/ssl/clients-ca.pem": self.certs.ca,
                      "/etc/ssl/db-ca.pem": self.certs.ca, "/etc/ssl/db.": f"{self.certs.dir}/good.",
                      "/etc/ssl/client.": f"{self.certs.dir}/client."}
            server, client = re.findall("^tlstunnel .*$", text, re.M)
            server = server.replace("-t 127.0.0.1:6379", f"-t 127.0.0.1:{target.getsockname()[1]}")
            for line in (server, client):
                for old, new in places.items():
                    line = line.replace(old, new)
                self.tunnel(*line.split()[1:])
            with socket.create_connection(("127.0.0.1", plain)) as ours:
                theirs, _ = target.accept()
                with theirs:
                    ours.sendall(b"through both")
                    self.assertEqual(theirs.recv(100), b"through both")

    def test_each_line_of_it_has_its_option(self):
        text = (EXAMPLES / "from-stunnel.md").read_text()
        sections = re.findall(r"```ini\n\[db\]\n(.*?)```", text, re.S)
        for section, command in zip(sections, re.findall("^tlstunnel .*$", text, re.M), strict=True):
            for option in re.findall("; (-.*)$", section, re.M):
                self.assertIn(f" {option}", command)
        self.assertIn(re.search("^tlstunnel server.*$", text, re.M)[0], re.search("ExecStart=.*", text)[0])

    def test_a_service_that_knows_its_clients(self):
        port = self.server(EXAMPLES / "greet-client.sh", options=["-a", self.certs.ca])
        done = self.run_program([program("tlsclient"), "-c", self.certs.ca, "-C", self.certs("client.pem"), "-K",
                                 self.certs("client.key"), f"localhost:{port}"], input="who am I?\n",
                                environment=self.environment)
        self.assertRan(done)
        self.assertRegex(done.stdout, r"^CN=client, you are the one with SHA256:[0-9a-f]{64}, and ask: who am I\?\n$")


class Code(Examples):
    def test_a_client_in_c(self):
        # It trusts the machine's store, which for this mount is our root.
        tlsfs = self.mount("--ca-file", self.certs.ca)
        server = self.server("cat")
        said = self.example("example_client_c", "localhost", server, "hello from C", environment={"TLSFS": str(tlsfs.path)})
        self.assertEqual(said, "hello from C\n")

    def test_a_client_in_cpp(self):
        said = self.example("example_client_cc", f"localhost:{self.server('cat')}", "hello from C++", self.certs.ca)
        self.assertEqual(said, "hello from C++\n")

    def test_a_server_in_cpp_with_epoll(self):
        port = free_port()
        self.spawn([BUILD / "examples" / "example_echo_server", port, self.certs("good.pem"), self.certs("good.key")],
                   environment=self.environment)
        until(lambda: listens(port), "the server listens")
        for text in ("one\n", "two\n" * 100000):
            done = self.run_program([program("tlsclient"), "-c", self.certs.ca, f"localhost:{port}"], input=text,
                                    environment=self.environment)
            self.assertRan(done)
            self.assertEqual(done.stdout, text)

    def test_asyncio(self):
        port = self.server("cat")
        said = self.example("asyncio_client.py", "localhost", port, *(f"line {i}" for i in range(20)))
        self.assertEqual(said.splitlines(), [f"line {i}" for i in range(20)])

    @needs_root
    def test_a_connection_is_passed_to_another_user(self):
        user, _ = self.users()
        place = self.dir / "taken"
        place.mkdir()
        os.chmod(place, 0o777)
        # Where this repository lies, another user may not be let in.
        taker = self.spawn([shutil.copy(EXAMPLES / "take_connection.py", place), place / "socket", "hello from the taker"],
                           user=user)
        taker.wait_for_output("ready")
        self.example("pass_connection.py", "localhost", self.server("cat"), place / "socket")
        self.assertEqual(taker.wait(), 0, taker.output())
        self.assertEqual(taker.output(), "ready\nhello from the taker\n")
