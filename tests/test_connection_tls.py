"""How TLS begins and ends, in memory: the handshake's time, and how it fails."""

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import Anybody, Passwords, Realm, TLSClient, certificates, plain, portal, secured
from tests.scripted import Script, ScriptedDelivery, ScriptedPolicy
from tests.support import Server, logged
from twistsmtp.limits import Limits
from twistsmtp.security import Security

#: How a ClientHello begins, and never goes on.
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00"


class HandshakeTestCase(SynchronousTestCase):
    def server(self, **settings: Any) -> Server:
        return Server(security=Security(tls=certificates()), **settings)

    def clients(self, server: Server) -> list[TLSClient]:
        """Two clients of whom a handshake is waited for: behind STARTTLS, and before the greeting."""
        client = TLSClient(server)
        client.hello()
        client.say("STARTTLS")
        return [client, TLSClient(server, implicit=True)]


class TimeTests(HandshakeTestCase):
    def test_a_handshake_that_never_comes(self) -> None:
        for half in (b"", HALF_A_HELLO):
            for n in (0, 1):
                server = self.server(limits=Limits(handshake_time=30))
                with logged("twistsmtp.connection") as events:
                    client = self.clients(server)[n]
                    server.clock.advance(0)
                    if half:
                        client.raw(half)
                    server.clock.pump([1] * 29)
                    self.assertFalse(client.wire.lost)
                    server.clock.pump([1] * 12)
                    self.assertTrue(client.wire.lost)
                self.assertIn("TLS handshake took too long", [event["reason"] for event in events])

    def test_one_that_comes_in_the_last_moment(self) -> None:
        server = self.server(limits=Limits(handshake_time=30))
        explicit, implicit = self.clients(server)
        server.clock.pump([1] * 29)
        for client in (explicit, implicit):
            client.shake_hands()
        self.assertEqual(implicit.codes(), ["220"])
        server.clock.pump([1] * 100)
        for client in (explicit, implicit):
            self.assertEqual(client.codes("EHLO client.test", "MAIL FROM:<>"), ["250", "250 2.1.0"])

    def test_the_time_since_then_is_the_clients(self) -> None:
        server = self.server(limits=Limits(handshake_time=30, idle_time=60))
        client = TLSClient(server)
        client.hello()
        server.clock.pump([1] * 50)
        client.say("STARTTLS")
        server.clock.pump([1] * 25)
        client.shake_hands()
        server.clock.pump([1] * 50)
        self.assertEqual(client.codes("NOOP"), ["250 2.0.0"])

    def test_others_are_not_harmed(self) -> None:
        server = self.server()
        other = TLSClient(server)
        other.hello()
        self.clients(server)
        self.assertEqual(other.codes("NOOP"), ["250 2.0.0"])
        server.clock.pump([1] * 60)
        self.assertEqual(other.message()[0][:9], "250 2.0.0")
        self.assertEqual(len(server.factory.connections), 1)

    def test_nothing_is_left(self) -> None:
        server = self.server()
        self.clients(server)
        server.clock.pump([1] * 60)
        self.assertEqual((len(server.factory.connections), server.clock.getDelayedCalls()), (0, []))


class FailureTests(HandshakeTestCase):
    def test_garbage(self) -> None:
        for octets in (b"EHLO client.test\r\n", b"\0" * 100, b"\x16\x03\x01\0\x05hello", b"\x80" * 2000):
            for n in (0, 1):
                with logged("twistsmtp.connection") as events:
                    client = self.clients(self.server())[n]
                    client.raw(octets)
                    self.assertTrue(client.wire.lost)
                self.assertEqual([event["reason"][:22] for event in events], ["TLS handshake failed: "], octets)
                self.assertGreater(len(events[0]["reason"]), 24)
                self.assertEqual(self.flushLoggedErrors(), [])

    def test_an_old_protocol(self) -> None:
        # A ClientHello of TLS 1.0, by hand.
        body = b"\x03\x01" + b"r" * 32 + b"\0" + b"\0\x02\0\x2f" + b"\x01\0"
        hello = b"\x16\x03\x01" + (len(body) + 4).to_bytes(2) + b"\x01" + len(body).to_bytes(3) + body
        with logged("twistsmtp.connection") as events:
            client = self.clients(self.server())[0]
            said = client.raw(hello)
            self.assertTrue(client.wire.lost)
        self.assertEqual(said[:1], b"\x15", "an alert says so")
        self.assertIn("unsupported protocol", events[0]["reason"])

    def test_the_client_goes(self) -> None:
        for reason in (ConnectionDone(), ConnectionLost()):  # without the word that TLS has for that, it is all one
            for n in (0, 1):
                with logged("twistsmtp.connection") as events:
                    self.clients(self.server())[n].wire.lose(reason)
                self.assertEqual([event["reason"] for event in events], ["TLS handshake failed: connection lost"])

    def test_what_went_before_is_undone_once(self) -> None:
        realm = Realm()
        client = TLSClient(secured(realm=realm, tls=certificates()))
        client.hello()
        client.say(f"AUTH PLAIN {plain()}", "STARTTLS")
        client.raw(b"garbage")
        self.assertTrue(client.wire.lost)
        self.assertEqual((realm.given, realm.left), ([b"tim"], [b"tim"]))

    def test_a_connection_that_ends_under_tls_says_nothing_of_the_handshake(self) -> None:
        with logged("twistsmtp.connection") as events:
            explicit, implicit = self.clients(self.server())
            for client in (explicit, implicit):
                client.shake_hands().hello()
            explicit.say("QUIT")
            self.assertTrue(explicit.closed)
            implicit.hang_up()
        self.assertEqual([event["reason"] for event in events], ["221 2.0.0 Bye", "closed by client"])
        self.assertEqual({event["tls"] for event in events}, {"TLSv1.3"})


class GreetingTests(HandshakeTestCase):
    """Implicit TLS (RFC 8314): the server speaks first, behind the handshake."""

    def test_nothing_before_the_handshake(self) -> None:
        script = Script()
        server = Server(policies=[ScriptedPolicy(script)], security=Security(tls=certificates()))
        client = TLSClient(server, implicit=True)
        server.clock.pump([1] * 10)
        self.assertEqual((client.wire.writes, script.calls), ([], []))
        client.shake_hands()
        self.assertEqual(client.codes(), ["220"])
        self.assertEqual(script.calls, ["policy_connect"])

    def test_a_policy_sees_that_it_is_encrypted(self) -> None:
        seen: list[object] = []

        class Looking(ScriptedPolicy):
            def connect(self, session: Any) -> None:
                seen.append(session.tls)

        server = Server(policies=[Looking(Script())], security=Security(tls=certificates()))
        client = TLSClient(server, implicit=True).shake_hands()
        self.assertEqual(seen, [client.session.tls])
        self.assertIsNotNone(seen[0])

    def test_the_realm_is_asked_behind_the_handshake(self) -> None:
        realm = Realm(visitors=ScriptedDelivery())
        security = Security(portal=portal(Passwords(), Anybody(), realm=realm))
        client = TLSClient(Server(security=security), implicit=True)
        self.assertEqual(realm.asked, [])
        client.shake_hands()
        self.assertEqual(len(realm.asked), 1)

    def test_held_back(self) -> None:
        server = self.server(strict_greeting=True, limits=Limits(greeting_delay=2))
        client = TLSClient(server, implicit=True).shake_hands()
        self.assertEqual(client.read(), b"")
        server.clock.advance(2)
        self.assertEqual(client.codes("NOOP"), ["220", "250 2.0.0"])

    def test_who_does_not_wait_for_it(self) -> None:
        server = self.server(strict_greeting=True)
        client = TLSClient(server, implicit=True).shake_hands()
        self.assertEqual(client.codes("EHLO client.test"), ["554 5.5.1"])
        self.assertTrue(client.closed)

    def test_one_connection_too_many_costs_no_handshake(self) -> None:
        for strict in (False, True):
            script = Script()
            realm = Realm(visitors=ScriptedDelivery())
            server = Server(
                policies=[ScriptedPolicy(script)],
                security=Security(portal=portal(Passwords(), Anybody(), realm=realm)),
                limits=Limits(connections=1),
                strict_greeting=strict,
            )
            first = TLSClient(server)
            server.clock.advance(1)
            asked = len(realm.asked), len(script.calls)
            client = TLSClient(server, implicit=True)
            self.assertTrue(client.closed)
            self.assertEqual(client.wire.writes, [])
            self.assertEqual((len(realm.asked), len(script.calls)), asked, "nobody was asked about it")
            server.clock.advance(1)
            self.assertEqual(realm.given[1:], realm.left)
            first.say("QUIT")
            self.assertTrue(first.closed)
            self.assertEqual(server.clock.getDelayedCalls(), [])


class ShutdownTests(HandshakeTestCase):
    def test_while_a_handshake_is_waited_for(self) -> None:
        script = Script()
        server = Server(policies=[ScriptedPolicy(script)], security=Security(tls=certificates()))
        clients = self.clients(server)
        asked = len(script.calls)
        done = server.factory.shutdown(5)
        for client in clients:
            client.shake_hands()
            client.read()
        server.clock.pump([1] * 7)
        self.successResultOf(done)
        self.assertEqual([client.wire.lost for client in clients], [True, True])
        self.assertEqual(len(script.calls), asked)
        self.assertEqual(server.clock.getDelayedCalls(), [])

    def test_a_client_under_tls_is_told(self) -> None:
        server = self.server()
        explicit, implicit = self.clients(server)
        for client in (explicit, implicit):
            client.shake_hands().hello()
        done = server.factory.shutdown(5)
        self.assertEqual([client.codes() for client in (explicit, implicit)], [["421 4.3.2"]] * 2)
        self.assertEqual([client.closed for client in (explicit, implicit)], [True, True])
        self.successResultOf(done)
