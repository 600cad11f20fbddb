# SPDX-License-Identifier: MIT
"""Point 3: what TLS says after the handshake (tickets, new keys, requests to renegotiate) never shows in `data`."""

import errno
import os
import select
import unittest

from harness import Case, concurrent, engine, needs_rekey
from harness.bulk import bulk_client, bulk_server, client_of, pattern, server_of
from harness.certs import NAME
from harness.device import read_exactly
from harness.peers import TLS12, TLS13, VERSIONS, client_context, server_context, silent
from harness.servers import gnutls_cli, gnutls_serv, s_client, s_server
from harness.wait import until

MEGABYTE = 1 << 20
UPDATE = "TLS 1.3, Handshake [length 0005], KeyUpdate"  # as `openssl -msg` has it


class Tickets(Case):
    def test_any_number_of_tickets_stays_hidden(self):
        mount = self.mount()
        for count in (0, 1, 2, 8, 30):
            with self.subTest(count):
                context = server_context(self.certs, version=TLS13, tickets=count)
                connection, _ = self.connect(mount, context=context)
                data = connection.data(os.O_NONBLOCK)
                self.assertEqual(select.select([data], [], [], 0.2)[0], [], "a ticket is not data")
                self.assertErrno(errno.EAGAIN, os.read, data, 100)
                os.write(data, b"data")
                self.assertEqual(select.select([data], [], [], 30)[0], [data])
                self.assertEqual(os.read(data, 100), b"data")
                self.assertEqual(connection.stats()["DataIn"], 4)

    def test_a_ticket_alone_does_not_end_a_waiting_read(self):
        def script(peer):
            select.select([], [], [], 0.3)
            peer.write(b"later")
            silent(peer)
        connection, _ = self.connect(self.mount(), script, context=server_context(self.certs, tickets=4))
        self.assertEqual(os.read(connection.data(), 100), b"later")

    def test_a_server_connection_serves_clients_that_resume(self):
        mount = self.mount()
        for version in VERSIONS.values():
            for _ in range(3):
                connection, peer = self.accept(mount, context=client_context(self.certs, version=version))
                data = connection.data()
                self.assertEqual(select.select([data], [], [], 0.1)[0], [])
                connection.say("close")
                self.assertEqual(peer.result(), 0)


class Resumption(Case):
    """The client's session cache is shared by the connections of one owner, name and policy, and by no others."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def resumed(self, context, *lines, name=NAME, ca="ca.pem"):
        """Makes a connection that gets its tickets; was it resumed?"""
        def script(peer):
            peer.write(b"x")
            peer.read_all()
            peer.close_notify()
            return peer.tls.session_reused
        connection, peer = self.connect(self.tlsfs, script, context=context, lines=lines, name=name, ca=ca)
        os.read(connection.data(), 1)
        status = connection.status()
        connection.close()
        reused = peer.result()
        self.assertEqual(status["Resumed"], "yes" if reused else "no")
        return reused

    def test_the_second_connection_resumes(self):
        for name, version in VERSIONS.items():
            with self.subTest(name):
                context = server_context(self.certs, version=version)
                self.assertFalse(self.resumed(context))
                self.assertTrue(self.resumed(context))
                self.assertTrue(self.resumed(context))

    def test_session_off_neither_takes_nor_leaves_one(self):
        context = server_context(self.certs)
        self.assertFalse(self.resumed(context, "session off"))
        self.assertFalse(self.resumed(context, "session off"))
        self.assertFalse(self.resumed(context), "what was off left nothing behind")
        self.assertTrue(self.resumed(context))
        self.assertFalse(self.resumed(context, "session off"))

    def test_another_name_or_policy_does_not_share_it(self):
        context = server_context(self.certs)
        self.assertFalse(self.resumed(context))
        self.assertFalse(self.resumed(context, name="localhost"))
        self.assertFalse(self.resumed(context, f"verify pin {self.certs.pin('good')}"))
        self.assertFalse(self.resumed(context, "verify none"))
        self.assertFalse(self.resumed(context, ca="ca-with-crl.pem"))
        self.assertTrue(self.resumed(context), "the first policy still has its own")

    def test_another_user_does_not_share_it(self):
        first, second = self.users()
        server = s_server(self, "-rev")
        script = """
            exec 4<>$TLSFS/clone; read -r n <&4; cat "$CA" >$TLSFS/$n/ca
            printf 'dial localhost:%s\\nclient\\n' $PORT >&4
            exec 5<>$TLSFS/$n/data; echo abc >&5; read -r line <&5; echo "$line"; grep Resumed $TLSFS/$n/status
        """

        def seen(user):
            done = self.shell("dash", script, mount=self.tlsfs, environment={"PORT": str(server.port)}, user=user)
            self.assertRan(done)
            return done.stdout

        self.assertEqual(seen(first), "cba\nResumed: no\n")
        self.assertEqual(seen(first), "cba\nResumed: yes\n")
        self.assertEqual(seen(second), "cba\nResumed: no\n")
        self.assertEqual(seen(None), "cba\nResumed: no\n")


# The peer changes its keys between two writes, so up to one write later than it was told to.
PEER_WRITE = 1 << 16


class KeyUpdates(Case):
    """New keys from either side, asked for or not, in the midst of bulk data in both directions."""

    SIZE = 128 * MEGABYTE

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def transfer(self, connection, peer, keyupdates=0):
        """Both directions at once, with our own KeyUpdates meanwhile; returns how many the peer got."""
        data = connection.data()
        both = pattern(self, "both", self.SIZE, 65536, stdin=data, stdout=data)
        for step in range(keyupdates):
            part = step * self.SIZE // (keyupdates + 1)
            until(lambda: connection.stats()["DataOut"] > part or both.code() is not None, "progress")
            if both.code():
                break  # why is said below
            connection.say("keyupdate")
        self.assertEqual(both.wait(), 0, f"{both.output()}the peer: {peer.output()}{connection.status()}")
        stats = connection.stats()
        connection.close()
        self.assertEqual(peer.wait(), 0, peer.output())
        return stats, int(peer.output().split("updates")[1])

    def with_server(self, *arguments, lines=(), keyupdates=0):
        ours, peer = bulk_server(self, "--send", str(self.SIZE), "--expect", str(self.SIZE), "--patient", *arguments)
        return self.transfer(client_of(self, self.tlsfs, ours, "version 1.3", *lines), peer, keyupdates)

    @concurrent
    @needs_rekey
    def test_a_server_that_changes_its_keys_without_asking(self):
        stats, updates = self.with_server("--update", "1000000")
        self.assertEqual(updates, 0, "nobody asked us")
        self.assertGreaterEqual(stats["KeyUpdates"], self.SIZE // (1000000 + PEER_WRITE))

    @concurrent
    @needs_rekey
    def test_a_server_that_asks_for_our_keys_too(self):
        stats, updates = self.with_server("--update", "1000000", "--request")
        self.assertGreater(updates, 0, "we were asked and must answer")
        self.assertGreaterEqual(stats["KeyUpdates"], self.SIZE // (1000000 + PEER_WRITE))

    @concurrent
    @needs_rekey
    def test_a_client_that_asks_for_our_keys_too(self):
        ours, peer = bulk_client(self, "--send", str(self.SIZE), "--expect", str(self.SIZE), "--update", "300000",
                                 "--request")
        _, updates = self.transfer(server_of(self, self.tlsfs, ours, "version 1.3"), peer)
        self.assertGreater(updates, 0)

    @concurrent
    @needs_rekey
    def test_our_own_keyupdate(self):
        stats, updates = self.with_server(keyupdates=5)
        self.assertEqual(updates, 5)
        self.assertGreaterEqual(stats["KeyUpdates"], 5)

    @concurrent
    @needs_rekey
    def test_both_sides_at_once(self):
        _, updates = self.with_server("--update", "500000", "--request", keyupdates=5)
        self.assertGreaterEqual(updates, 5)

    @needs_rekey
    def test_openssl_s_server_changes_keys_by_its_commands(self):
        peer = s_server(self, "-tls1_3", "-msg")
        connection = self.tlsfs.connection()
        connection.put("ca", self.certs.text("ca.pem"))
        connection.say(f"dial localhost:{peer.port}", "client")
        data = connection.data()
        for number, command in enumerate("kKkK"):
            peer.say(f"{command}\n")
            until(lambda: peer.output().count(f">>> {UPDATE}") == number + 1, "s_server's KeyUpdate")
            peer.say(f"after {number} {command}\n")
            self.assertEqual(os.read(data, 100), f"after {number} {command}\n".encode())
            os.write(data, f"we heard {number} {command}\n".encode())
            peer.wait_for_output(f"we heard {number} {command}")
        self.assertEqual(peer.output().count(f"<<< {UPDATE}"), 2, "each K asks for an answer, no k does")
        connection.say("keyupdate")
        os.write(data, b"with new keys\n")
        peer.wait_for_output("with new keys")
        self.assertEqual(peer.output().count(f"<<< {UPDATE}"), 3)

    @needs_rekey
    def test_openssl_s_client_changes_keys_by_its_commands(self):
        ours, client = s_client(self, "-tls1_3", "-msg")
        connection = server_of(self, self.tlsfs, ours)
        data = connection.data()
        for done, command in enumerate("kK", 1):
            client.say(f"{command}\n")
            until(lambda: client.output().count("KEYUPDATE") == done, "s_client's command")
            client.say(f"after {command}\n")
            self.assertEqual(read_exactly(data, 8), f"after {command}\n".encode())
            os.write(data, f"we heard {command}\n".encode())
            client.wait_for_output(f"we heard {command}")
        self.assertGreaterEqual(connection.stats()["KeyUpdates"], 2)
        connection.say("keyupdate")
        os.write(data, b"with new keys\n")
        client.wait_for_output("with new keys")

    @needs_rekey
    def test_gnutls_takes_our_keyupdate(self):
        peer = gnutls_serv(self, "--echo", "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3")
        connection = self.tlsfs.connection()
        connection.put("ca", self.certs.text("ca.pem"))
        connection.say(f"dial localhost:{peer.port}", "client")
        data = connection.data()
        for number in range(5):
            line = b"line %d\n" % number
            os.write(data, line)
            self.assertEqual(read_exactly(data, len(line)), line)
            connection.say("keyupdate")
        self.assertGreaterEqual(connection.stats()["KeyUpdates"], 5)

    @needs_rekey
    def test_gnutls_changes_its_keys(self):
        ours, client = gnutls_cli(self, "--inline-commands")
        connection = server_of(self, self.tlsfs, ours)
        data = connection.data()
        client.wait_for_output("Handshake was completed")
        for done, command in enumerate(("rekey", "rekey1"), 1):
            client.say(f"before {command}\n")
            self.assertEqual(read_exactly(data, len(command) + 8), f"before {command}\n".encode())
            client.say(f"^{command}^\n")
            until(lambda: client.output().count("Rekey was completed") == done, "gnutls-cli has new keys")
            client.say(f"after {command}\n")
            self.assertEqual(read_exactly(data, len(command) + 7), f"after {command}\n".encode())
            os.write(data, f"we heard {command}\n".encode())
            client.wait_for_output(f"we heard {command}")
        self.assertGreaterEqual(connection.stats()["KeyUpdates"], 2)

    def test_keyupdate_is_refused_before_the_handshake_and_in_tls_1_2(self):
        fresh = self.tlsfs.connection()
        self.assertErrno(errno.ENOTCONN, fresh.say, "keyupdate")
        old, _ = self.connect(self.tlsfs, context=server_context(self.certs, version=TLS12))
        with self.assertRaises(OSError):
            old.say("keyupdate")
        data = old.data()
        os.write(data, b"goes on")
        self.assertEqual(os.read(data, 100), b"goes on")
        if engine.rekeys:
            new, _ = self.connect(self.tlsfs, context=server_context(self.certs, version=TLS13))
            new.say("keyupdate")

    @unittest.skipIf(engine.rekeys, "this engine can change keys")
    def test_where_keys_cannot_change_the_error_says_so(self):
        ours, _ = bulk_server(self, "--send", str(self.SIZE), "--update", "1000000")
        connection = client_of(self, self.tlsfs, ours, "version 1.3")
        data = connection.data()

        def read_on():
            while os.read(data, MEGABYTE):
                pass
        self.assertErrno(errno.EKEYEXPIRED, read_on)
        self.assertIn("engine user", connection.status()["Error"])


class Renegotiation(Case):
    """TLS 1.2's second handshake is refused, and nothing of it shows."""

    def setUp(self):
        super().setUp()
        self.tlsfs = self.mount()

    def test_a_client_that_asks_is_refused_and_others_go_on(self):
        other, _ = self.connect(self.tlsfs)
        ours, client = s_client(self, "-tls1_2")
        connection = server_of(self, self.tlsfs, ours)
        data = connection.data()
        client.say("before\n")
        self.assertEqual(os.read(data, 100), b"before\n")
        client.say("R\n")
        client.wait_for_output("RENEGOTIATING")
        # s_client gives up when it is refused, without close_notify; a client that insisted could go on.
        with self.assertRaises(OSError) as caught:
            self.background(os.read, data, 100).result()
        self.assertIn(caught.exception.errno, (errno.ECONNRESET, errno.EPROTO))
        self.assertNotEqual(client.wait(), 0)
        self.assertIn("no renegotiation", client.output())
        echo = other.data()
        os.write(echo, b"goes on")
        self.assertEqual(os.read(echo, 100), b"goes on")

    def test_a_client_that_asks_by_gnutls_is_told_and_nothing_of_it_shows(self):
        ours, client = gnutls_cli(self, "--inline-commands", "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2")
        connection = server_of(self, self.tlsfs, ours)
        data = connection.data(os.O_NONBLOCK)
        client.say("before\n")
        self.assertEqual(select.select([data], [], [], 30)[0], [data])
        self.assertEqual(os.read(data, 100), b"before\n")
        client.say("^renegotiate^\n")

        def told():
            # GnuTLS asks again and again, and at last gives up with an alert of its own.
            self.assertErrno((errno.EAGAIN, errno.EPROTO), os.read, data, 100)
            return "No renegotiation is allowed" in client.output()
        until(told, "gnutls-cli hears of it")
        self.assertEqual(connection.stats()["DataIn"], len("before\n"))

    def test_a_server_that_asks_is_refused_and_data_goes_on_or_ends_with_an_error(self):
        peer = s_server(self, "-tls1_2")
        connection = self.tlsfs.connection()
        connection.put("ca", self.certs.text("ca.pem"))
        connection.say(f"dial localhost:{peer.port}", "client")
        data = connection.data()
        peer.say("before\n")
        self.assertEqual(os.read(data, 100), b"before\n")
        peer.say("r\n")
        select.select([], [], [], 0.3)
        peer.say("after\n")
        try:
            self.assertEqual(self.background(os.read, data, 100).result(), b"after\n")
        except OSError as error:
            self.assertIn(error.errno, (errno.EPROTO, errno.ECONNRESET))
