# SPDX-License-Identifier: MIT
"""Point 13: tlsstat shows the connections that one may see, to people, to scripts and to scrapers, and nothing that a
stranger chose reaches the terminal raw."""

import fcntl
import json
import os
import pty
import re
import ssl
import struct
import subprocess
import termios

from harness import Case, program
from harness.certs import NAME
from harness.device import read_exactly
from harness.peers import tcp_pair, unix_pair
from harness.wait import until

ESCAPES = re.compile(r"\x1b\[(2J|H|K|J)")


class Seeing(Case):
    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def tlsstat(self, *words, code=0, **options):
        done = self.run_program([program("tlsstat"), *words],
                                environment={"TLSFS": str(self.tlsfs.path), **options.pop("environment", {})}, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertTrue(done.stdout.isascii() and done.stderr.count("\n") == (code != 0), done)
        return done.stdout if code == 0 else done.stderr

    def rows(self, *words, **options):
        """The table, as a dictionary for each line; columns are two blanks apart."""
        head, *lines = self.tlsstat(*words, **options).splitlines()
        names = re.split("  +", head.strip())
        return [dict(zip(names, re.split("  +", line.strip()), strict=True)) for line in lines]

    def json(self, *words, **options):
        return json.loads(self.tlsstat("--json", *words, **options))

    def carry(self, connection, count):
        """Sends bytes through an echo, and waits until they are back."""
        data = connection.data()
        os.write(data, b"x" * count)
        self.assertEqual(len(read_exactly(data, count)), count)
        connection.drop(data)


class Table(Seeing):
    def test_an_empty_tree_is_a_head_and_an_empty_array(self):
        self.assertEqual(self.tlsstat().split(), ["N", "OWNER", "ENGINE", "STATE", "PEER", "NAME", "VERSION", "CIPHER",
                                                  "IN", "OUT"])
        self.assertEqual(self.tlsstat("--json"), "[]\n")

    def test_each_connection_is_a_line(self):
        client, _ = self.connect(self.tlsfs, lines=["version 1.2 1.2"])
        server, _ = self.accept(self.tlsfs)
        fresh = self.tlsfs.connection()
        self.carry(client, 100)
        first, second, third = self.rows()
        status = client.status()
        self.assertEqual(first, {
            "N": str(client.number), "OWNER": "root" if os.geteuid() == 0 else first["OWNER"],
            "ENGINE": status["Engine"], "STATE": "Established", "PEER": status["Remote"], "NAME": NAME,
            "VERSION": "TLSv1.2", "CIPHER": status["Cipher"], "IN": "100", "OUT": "100"})
        self.assertEqual((second["N"], second["VERSION"], second["IN"]), (str(server.number), "TLSv1.3", "0"))
        self.assertEqual((third["N"], third["STATE"], third["PEER"]), (str(fresh.number), "New", "-"))

    def test_others_see_their_own_and_root_sees_all(self):
        alice, bob = self.users()
        mine = self.tlsfs.connection()
        script = 'exec 4<>"$TLSFS"/clone; echo ready; sleep 60'
        holder = self.spawn(["bash", "-c", script], user=alice, environment={"TLSFS": str(self.tlsfs.path)})
        holder.wait_for_output("ready")
        self.assertEqual([row["OWNER"] for row in self.rows()], ["root", alice.name])
        (row,) = self.rows(user=alice)
        theirs = str(mine.number + 1)
        self.assertEqual((row["OWNER"], row["N"]), (alice.name, theirs))
        self.assertEqual(self.rows(user=bob), [])
        self.assertIn(f"no connection {theirs}", self.tlsstat(theirs, user=bob, code=111))
        self.assertIn(f"no connection {mine.number}", self.tlsstat(mine.number, user=alice, code=111))
        self.assertIn(f"Owner: {alice.uid} ({alice.name})\n", self.tlsstat(theirs))

    def test_a_thousand_connections(self):
        connections = [self.tlsfs.connection() for _ in range(1000)]
        self.assertEqual([row["N"] for row in self.rows()], [str(each.number) for each in connections])
        self.assertEqual(len(self.json()), 1000)

    def test_connections_that_end_meanwhile_are_left_out(self):
        def churn():
            for _ in range(300):
                os.close(os.open(self.tlsfs.file("clone"), os.O_RDWR))
        churning = self.background(churn)
        for _ in range(10):
            self.tlsstat("--json")
        churning.result()

    def test_it_starts_no_companion_and_says_where_it_looked(self):
        place = self.dir / "nothing"
        place.mkdir()
        self.assertIn(f"no tlsfs is mounted at {place}", self.tlsstat(code=111, environment={"TLSFS": str(place)}))
        self.assertEqual(os.listdir(place), [])

    def test_wrong_usage_is_100(self):
        for words in (["x"], ["-1"], ["1", "2"], ["1x"], ["--nonsense"], ["-w", "0"], ["-w", "soon"], ["-w", "nan"],
                      ["--json", "--prometheus"], ["-w", "1", "--prometheus"], ["-w", "1", "7"], ["--prometheus", "7"]):
            with self.subTest(words):
                self.tlsstat(*words, code=100)


class One(Seeing):
    def test_everything_that_is_known_and_the_chain_in_words(self):
        connection, _ = self.connect(self.tlsfs, lines=["alpn h2"])
        self.carry(connection, 10)
        lines = self.tlsstat(connection.number).splitlines()
        for tag, value in connection.status().items():
            self.assertTrue(any(line.startswith(f"{tag}: {value}") for line in lines), tag)
        for name, value in connection.stats().items():
            self.assertIn(f"{name}: {value}", lines)
        certificates = [index for index, line in enumerate(lines) if line.startswith("Certificate: ")]
        self.assertEqual(len(certificates), 2, "the leaf and the intermediate")
        leaf = "\n".join(lines[certificates[0]:certificates[1]])
        self.assertRegex(leaf, r"(?m)^    Subject  CN=good$")
        self.assertRegex(leaf, r"(?m)^    Issuer   CN=tlsfs test intermediate$")
        self.assertRegex(leaf, r"(?m)^    Valid    \d{4}-\d\d-\d\d \d\d:\d\d:\d\d to \d{4}-.* UTC, \d+ days left$")
        self.assertRegex(leaf, rf"(?m)^    Name     DNS:{NAME}$")
        self.assertRegex(leaf, r"(?m)^    Key      EC prime256v1$")
        self.assertIn(f"    SHA-256  {self.certs.pin('good').split(':')[1]}", leaf)

    def test_the_chain_for_scripts(self):
        connection, _ = self.connect(self.tlsfs, leaf="rsa")
        (seen,) = self.json(connection.number)
        self.assertEqual(seen["Number"], connection.number)
        leaf, intermediate = seen["Chain"]
        theirs = ssl.PEM_cert_to_DER_cert(connection.peer().split("-----END")[0] + "-----END CERTIFICATE-----\n")
        self.assertTrue(theirs)
        self.assertEqual(leaf["SHA256"], seen["PeerSHA256"])
        self.assertRegex(leaf["Key"], "^RSA [0-9]+$")
        self.assertIn(f"DNS:{NAME}", leaf["Names"])
        self.assertEqual(intermediate["Subject"], leaf["Issuer"])

    def test_a_failed_connection_shows_its_cause(self):
        connection = self.tlsfs.connection()
        ours, theirs = tcp_pair()
        with ours:
            theirs.close()
            connection.say(f"fd {ours.fileno()}")
            with self.assertRaises(OSError):
                connection.say(f"client {NAME}")
        text = self.tlsstat(connection.number)
        self.assertIn("State: Error\n", text)
        self.assertRegex(text, "(?m)^Error: .+")
        self.assertNotIn("Certificate", text)
        self.assertEqual(self.json(connection.number)[0]["Chain"], [])

    def test_a_peer_without_a_certificate_has_no_chain(self):
        connection, _ = self.accept(self.tlsfs)
        self.assertNotIn("Certificate", self.tlsstat(connection.number))

    def test_a_number_that_is_none_is_111(self):
        self.assertEqual(self.tlsstat("4711", code=111), "tlsstat: there is no connection 4711\n")


class Strangers(Seeing):
    HOSTILE = "\x1b[2J\x1b]0;owned\x07\nState: Established"

    def hostile_leaf(self):
        """A certificate with escape sequences wherever there is room for them."""
        config = self.dir / "hostile.cnf"
        config.write_text("[req]\ndistinguished_name=dn\n[dn]\n")
        key, pem = self.dir / "hostile.key", self.dir / "hostile.pem"
        subprocess.run(["openssl", "req", "-x509", "-config", config, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-keyout", key, "-out", pem, "-days", "3", "-utf8", "-subj",
                        "/CN=evil" + self.HOSTILE.replace("\n", "") + "\u202e\u009b31m",
                        "-addext", f"subjectAltName=DNS:{NAME},DNS:a\x1b[31mred,email:x\x07@y"],
                       check=True, capture_output=True)
        return pem, key

    def test_a_certificate_full_of_escapes_is_shown_not_obeyed(self):
        pem, key = self.hostile_leaf()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        connection, _ = self.connect(self.tlsfs, context=context, lines=["verify none"], ca=None)
        for words in ([], [connection.number]):
            text = self.tlsstat(*words)
            self.assertTrue(all(line.isprintable() for line in text.splitlines()), repr(text))
        self.assertIn(r"DNS:a\x1b[31mred", text)
        self.assertEqual(len(re.findall("(?m)^State:", text)), 1)
        (seen,) = self.json(connection.number)
        self.assertIn(r"DNS:a\x1b[31mred", seen["Chain"][0]["Names"])

    def test_a_name_full_of_quotes_is_a_string_to_scripts(self):
        ours, theirs = tcp_pair()
        name = 'a","State":"Forged","b\\'
        with ours, theirs:
            connection = self.tlsfs.connection()
            connection.say(f"fd {ours.fileno()}", "verify none")
            theirs.close()
            with self.assertRaises(OSError):
                connection.say(f"client '{name}'")
        (seen,) = self.json()
        self.assertEqual(seen["State"], "Error" if "Name" in seen else "New")
        self.assertEqual(seen.get("Name", name), name)
        self.tlsstat("--prometheus")


class Scripts(Seeing):
    def test_json_is_one_array_with_numbers_as_numbers(self):
        connection, _ = self.connect(self.tlsfs)
        self.carry(connection, 12345)
        (seen,) = self.json()
        status, stats = connection.status(), connection.stats()
        self.assertEqual(seen["Owner"], os.geteuid())
        for tag in set(status) - {"Owner"}:
            self.assertEqual(seen[tag], status[tag])
        for name in stats:
            self.assertIsInstance(seen[name], int)
        self.assertEqual((seen["DataIn"], seen["DataOut"]), (12345, 12345))

    def test_a_transport_without_addresses_has_none(self):
        connection, _ = self.connect(self.tlsfs, pair=unix_pair)
        (row,) = self.rows()
        self.assertEqual((row["N"], row["ENGINE"]), (str(connection.number), connection.status()["Engine"]))

    def test_prometheus_takes_it(self):
        connection, _ = self.connect(self.tlsfs)
        self.carry(connection, 777)
        text = self.tlsstat("--prometheus")
        sample = re.compile(r'[a-z_]+\{[a-z]+="[^"\\\n]*"(,[a-z]+="[^"\\\n]*")*\} [0-9]+')
        families = set()
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                self.assertNotIn(line.split()[2], families, "a family is announced once")
                families.add(line.split()[2])
            elif not line.startswith("# HELP "):
                self.assertRegex(line, sample)
                self.assertIn(line.split("{")[0], families, "and before its samples")
        uid, engine = os.geteuid(), connection.status()["Engine"]
        self.assertIn(f'tlsfs_connections{{state="Established",engine="{engine}",role="client",'
                      f'version="TLSv1.3",owner="{uid}"}} 1\n', text)
        self.assertIn(f'tlsfs_connection_data_bytes_total{{connection="{connection.number}",owner="{uid}",'
                      'direction="in"} 777\n', text)

    def test_nobody_who_reads_is_no_accident(self):
        read, write = os.pipe()
        os.close(read)
        process = self.spawn([program("tlsstat"), "-w", "0.1"], stdout=write, environment={"TLSFS": str(self.tlsfs.path)})
        os.close(write)
        self.assertIn(process.wait(), (-13, 111))


class Live(Seeing):
    def watch(self, *words, **options):
        return self.spawn([program("tlsstat"), "-w", "0.2", *words], environment={"TLSFS": str(self.tlsfs.path)}, **options)

    def keep_busy(self, connection):
        """Bytes all the time, until the connection's data is closed."""
        data = connection.data()

        def work():
            try:
                while True:
                    os.write(data, b"y" * 1000)
                    read_exactly(data, 1000)
            except OSError:
                return
        return self.background(work)

    def test_plain_blocks_with_rates_where_there_is_no_terminal(self):
        connection, _ = self.connect(self.tlsfs)
        self.keep_busy(connection)
        process = self.watch()

        def moving():
            blocks = process.output().split("\n\n")
            return any(re.search(r"Established .* [1-9][0-9.]*[KMG]?  +[1-9][0-9.]*[KMG]?$", block, re.M)
                       for block in blocks[1:])
        until(moving, "a rate above zero")
        first = process.output().split("\n\n")[0].splitlines()
        self.assertTrue(first[0].endswith("OUT/s"))
        self.assertTrue(first[1].endswith("-"), "of one look there is no rate")
        self.assertNotIn("\x1b", process.output())
        connection.say("hangup")

    def test_json_has_the_rates(self):
        connection, _ = self.connect(self.tlsfs)
        self.keep_busy(connection)
        process = self.watch("--json")
        until(lambda: any(seen.get("RateIn", 0) > 0 for line in process.output().splitlines()[:-1]
                          for seen in json.loads(line)), "a rate above zero")
        self.assertNotIn("RateIn", json.loads(process.output().splitlines()[0])[0])
        connection.say("hangup")

    def test_a_terminal_is_redrawn_and_never_overflows(self):
        for _ in range(50):
            self.tlsfs.connection()
        connection, _ = self.connect(self.tlsfs)
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 70, 0, 0))
        self.watch(stdout=slave)
        os.close(slave)
        text = ""
        while text.count("\x1b[J") < 3:
            text += os.read(master, 1 << 16).decode()
        os.close(master)
        screen = text.split("\x1b[J")[1]
        self.assertTrue(screen.startswith("\x1b[H"))
        lines = ESCAPES.sub("", screen).split("\r\n")
        self.assertLessEqual(len(lines), 10)
        self.assertTrue(all(len(line) <= 70 and line.isprintable() for line in lines), lines)
        self.assertNotIn("CIPHER", lines[0])
        self.assertTrue(lines[0].endswith("OUT/s"))
        self.assertIn("... and 44 more", lines)

    def test_it_ends_when_the_tree_does(self):
        process = self.watch()
        until(lambda: "OUT/s" in process.output(), "a table")
        self.tlsfs.stop()
        self.assertEqual(process.wait(), 111)
