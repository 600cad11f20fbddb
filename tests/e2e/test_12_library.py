# SPDX-License-Identifier: MIT
"""Point 12: programs outside the repository use the library by pkg-config alone, and need no mount to begin with."""

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import socket
import subprocess
import unittest

from harness import Case, program
from harness.certs import NAME
from harness.config import BUILD, HERE, SHARED, sanitizer_flags
from harness.mount import is_mounted
from harness.peers import echo, server_context
from harness.processes import command
from harness.servers import free_port
from harness.users import open_fuse_to_users
from harness.wait import until

OUTSIDE = HERE / "outside"


@unittest.skipUnless(shutil.which("g++") and shutil.which("gcc") and shutil.which("pkg-config") and shutil.which("meson"),
                     "no compiler, pkg-config or meson here")
class Library(Case):
    def setUp(self):
        super().setUp()
        if not (BUILD / "meson-private").exists():
            self.skipTest(f"{BUILD} is no build directory of meson's")
        shared = SHARED or self.dir
        self.installed = shared / "installed"
        with open(shared / "installed.lock", "w", encoding="ascii") as lock:  # the first one installs, for all
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.installed.exists():
                done = self.run_program(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet",
                                         "--destdir", self.installed])
                self.assertRan(done)
        [description] = self.installed.rglob("tlsfs.pc")
        self.libraries = str(next(self.installed.rglob("libtlsfs.so")).parent)
        # Of a staged installation the paths begin below the stage.
        self.environment = {"PKG_CONFIG_PATH": str(description.parent), "PKG_CONFIG_SYSROOT_DIR": str(self.installed),
                            "LD_LIBRARY_PATH": self.libraries}

    def installed_command(self, name):
        """An installed one: where this repository lies, another user may not be let in."""
        [path] = self.installed.rglob(f"bin/{name}")
        return path

    def compile(self, source, compiler="gcc", *flags):
        """Builds an outside program, by itself and with what pkg-config says. C chooses by a macro what C++ overloads."""
        language = {"gcc": "c", "g++": "c++"}[compiler]
        # A sanitizer's library must come first in the program; so the program has to be built with it, too.
        flags = (*flags, *sanitizer_flags(BUILD / "lib" / "libtlsfs.so"))
        output = self.dir / f"{source}-{language}"
        done = self.run_program(["sh", "-ec", f"{compiler} -x {language} -Wall -Wextra -Werror {' '.join(flags)} -o {output} "
                                 f"{shlex.quote(str(OUTSIDE / source))} -x none $(pkg-config --cflags --libs tlsfs)"],
                                environment=self.environment)
        self.assertRan(done)
        return str(output)

    def server(self, leaf="good", count=1):
        """An echo on a port of its own, for so many connections."""
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)

        def serve():
            for _ in range(count):
                theirs, _ = listener.accept()
                self.peer(theirs, server_context(self.certs, leaf), echo)
        self.background(serve)
        return str(listener.getsockname()[1])

    def outside(self, argv, environment, **options):
        return self.run_program(argv, environment={**self.environment, **environment}, **options)

    def test_c_and_cpp_programs_make_a_verified_connection_in_one_call(self):
        mount = self.mount("--ca-file", self.certs.ca)
        here = {"TLSFS": str(mount.path)}
        for compiler, *flags in (("gcc", "-std=c11", "-D_GNU_SOURCE", "-pedantic"), ("g++", "-std=c++20")):
            with self.subTest(compiler):
                binary = self.compile("client.c", compiler, *flags)
                done = self.outside([binary, self.server(), NAME], here)
                self.assertEqual((done.returncode, done.stdout), (0, "hello\n"), done.stderr)
                done = self.outside([binary, self.server("ip")], here)
                self.assertEqual((done.returncode, done.stdout), (0, "hello\n"), "by its address")
                for leaf, names, error in (("good", ["other.test"], "Key was rejected by service"),
                                           ("good", [], "Key was rejected by service"),
                                           ("stranger", [NAME], "Key was rejected by service"),
                                           ("expired", [NAME], "Key has expired")):
                    done = self.outside([binary, self.server(leaf), *names], here)
                    self.assertEqual((done.returncode, done.stdout), (2, f"{error}, descriptor open\n"))

    def test_c_programs_of_old_standards_compile_too(self):
        self.compile("client.c", "gcc", "-std=c99", "-D_GNU_SOURCE")
        self.compile("client.c", "g++", "-std=c++17")

    def test_a_server_in_one_call(self):
        mount = self.mount()
        binary = self.compile("server.c")
        port = str(free_port())
        server = self.spawn([binary, port, self.certs("good.pem"), self.certs("good.key")],
                            environment={**self.environment, "TLSFS": str(mount.path)})
        server.wait_for_output("listening")
        done = self.run_program([program("tlsclient"), "-c", self.certs.ca, f"localhost:{port}"], input="echoed",
                                environment={"TLSFS": str(mount.path)})
        self.assertEqual((done.returncode, done.stdout), (0, "echoed"), done.stderr)
        self.assertEqual(server.wait(), 0, server.output())

    def test_the_cpp_interface_has_options_and_the_cause_in_words(self):
        mount = self.mount()
        binary = self.compile("options.cc", "g++", "-std=c++20")
        here = {"TLSFS": str(mount.path)}
        done = self.outside([binary, self.server(), self.certs.ca], here)
        self.assertEqual((done.returncode, done.stdout), (0, "Established ok\nhello\n"), done.stderr)
        done = self.outside([binary, self.server("stranger"), self.certs.ca], here)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stdout, r"^\d+ .*(issuer|certificate)")

    def test_what_it_returns_is_a_socket(self):
        mount = self.mount("--ca-file", self.certs.ca)
        binary = self.compile("socket.c")
        port = self.server()
        done = self.outside([binary, port, NAME], {"TLSFS": str(mount.path)})
        self.assertEqual((done.returncode, done.stdout), (0, f"peer 127.0.0.1:{port}\nblocking\nhello\nend\n"), done.stderr)

    def test_the_library_needs_neither_openssl_nor_fuse(self):
        done = self.run_program(["ldd", f"{self.libraries}/libtlsfs.so"])
        self.assertRan(done)
        self.assertIn("libc.so", done.stdout)
        self.assertNotRegex(done.stdout, "libssl|libcrypto|libfuse")

    def companions(self, place):
        """Processes that were started for a mount at `place`."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if str(place).encode() in words:
                found.append(int(pid))
        return found

    def end(self, place):
        for pid in self.companions(place):
            if command(pid) != "unmounter":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        until(lambda: not is_mounted(place) and not self.companions(place), "the private companion ends")

    def nothing_mounted_yet(self, user):
        """A runtime directory of the user's: (where the mount will be, the environment that leads there)."""
        open_fuse_to_users()
        runtime = self.dir / "runtime"
        runtime.mkdir(mode=0o700)
        user.own(runtime)
        script = self.dir / "tlsfs-with-roots"
        script.write_text(f"#!/bin/sh\nexec {self.installed_command('tlsfs')} --ca-file {self.certs.ca} \"$@\"\n")
        script.chmod(0o755)
        place = runtime / "tls"
        self.addCleanup(self.end, place)
        return place, {"XDG_RUNTIME_DIR": str(runtime), "TLSFS_PROGRAM": str(script), "TLSFS": ""}

    def test_a_private_mount_is_started_where_none_is(self):
        user, other = self.users()
        place, here = self.nothing_mounted_yet(user)
        binary = self.compile("client.c")
        none = self.outside([binary, self.server(), NAME], {**here, "TLSFS_AUTOSTART": "0"}, user=user)
        self.assertEqual(none.returncode, 2)
        self.assertEqual(none.stdout, "No such file or directory, descriptor open\n")
        self.assertFalse(is_mounted(place))

        done = self.outside([binary, self.server(), NAME], here, user=user)
        self.assertEqual((done.returncode, done.stdout), (0, "hello\n"), done.stderr)
        self.assertTrue(is_mounted(place))
        first = self.companions(place)
        again = self.outside([binary, self.server(), NAME], here, user=user)
        self.assertEqual((again.returncode, again.stdout), (0, "hello\n"), again.stderr)
        self.assertEqual(self.companions(place), first, "the same companion served both")
        self.assertNotEqual(subprocess.run(other.wrap(["ls", str(place)]), capture_output=True).returncode, 0)

    def test_many_programs_at_once_start_one_companion(self):
        user, _ = self.users()
        place, here = self.nothing_mounted_yet(user)
        binary = self.compile("client.c")
        port = self.server(count=8)
        programs = [self.spawn([binary, port, NAME], user=user, environment={**self.environment, **here}) for _ in range(8)]
        for each in programs:
            self.assertEqual(each.wait(), 0, each.output())
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            self.assertEqual(sum(line.split()[4] == str(place) for line in file), 1)

    def test_the_commands_start_one_too(self):
        user, _ = self.users()
        place, here = self.nothing_mounted_yet(user)
        done = self.outside([self.installed_command("tlsclient"), f"localhost:{self.server()}"], here, input="hi", user=user)
        self.assertEqual((done.returncode, done.stdout), (0, "hi"), done.stderr)
        self.assertTrue(is_mounted(place))
