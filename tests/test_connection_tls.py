"""How TLS begins and ends: the handshake's time, and how it fails, in memory and on real sockets."""

# Not `suppress` by itself: trial would take that name in a module for its own setting.
import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import Anybody, Passwords, Realm, TLSClient, certificates, encoded, plain, portal, secured
from tests.loopback import CODES, CONVERSATION, LoopbackTestCase, codes, connect, read_all
from tests.scripted import Answer, How, Script, ScriptedDelivery, ScriptedPolicy
from tests.support import Server, logged
from twistsmtp.limits import Limits
from twistsmtp.security import Security

STARTTLS = b"EHLO client.test\r\nSTARTTLS\r\n"
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

    def test_one_connection_too_many_is_told_so_and_no_more(self) -> None:
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
            client = TLSClient(server, implicit=True).shake_hands()
            self.assertEqual(client.codes(), ["421 4.3.2"])
            self.assertTrue(client.closed)
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


# --- real sockets --------------------------------------------------------------------------------------------


@contextmanager
def under_tls(client: socket.socket) -> Iterator[ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with closing(context.wrap_socket(client)) as tls:
        yield tls


def read_until(client: socket.socket, end: bytes) -> bytes:
    said = b""
    while end not in said:
        octets = client.recv(65536)
        if not octets:
            raise AssertionError(f"closed behind {said!r}")
        said += octets
    return said


@contextmanager
def slow_reader(address: Any) -> Iterator[socket.socket]:
    """A connection to a server that has greeted, with little room for what is not read."""
    with closing(connect(address)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        read_until(client, b"\r\n")
        yield client


READY = b"220 2.0.0 Ready to start TLS\r\n"


class StartTLSTests(LoopbackTestCase):
    """By a real client, on the socket that plain text came from."""

    async def serve_tls(self, script: Script | None = None, **settings: Any) -> Any:
        own = {name: settings.pop(name) for name in Security.__dataclass_fields__ if name in settings}
        return await self.serve(script=script, security=Security(**{"tls": certificates(), **own}), **settings)

    def talk(self, address: Any, before: list[bytes], behind: bytes = CONVERSATION, extra: bytes = b"") -> bytes:
        """Say the pieces *before*, and *behind* under TLS; what is said there.

        :param extra: sent when the server has said that it is ready, in plain text still, and not waited for.
        """
        with closing(connect(address)) as client:
            read_until(client, b"\r\n")
            for piece in before:
                client.sendall(piece)
            said = read_until(client, READY)
            self.assertTrue(said.endswith(READY), said)
            if extra:
                client.sendall(extra)
            with under_tls(client) as tls:
                tls.sendall(behind)
                return read_all(tls)

    async def test_a_conversation(self) -> None:
        events = self.events("twistsmtp.connection")
        address = await self.serve_tls()
        said = await self.in_thread(lambda: self.talk(address, [STARTTLS]))
        self.assertEqual(codes(said), CODES[1:])
        self.assertNotIn(b"STARTTLS", said)
        self.assertIn(b" with ESMTPS id ", self.delivery.transactions[0].octets)
        await self.until(lambda: events)
        self.assertEqual((events[0]["tls"], events[0]["reason"]), ("TLSv1.3", "221 2.0.0 Bye"))

    async def test_injected_in_the_same_segment(self) -> None:
        address = await self.serve_tls(portal=portal(), plaintext_auth=True)
        for injected in (
            b"NOOP\r\n",
            b"EHLO evil.test\r\nMAIL FROM:<evil@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nevil\r\n.\r\n",
            f"AUTH PLAIN {plain()}\r\n".encode(),
            b"MAIL FROM:<evil@client.test",
            b"x" * 30_000,
        ):
            said = await self.in_thread(lambda injected=injected: self.talk(address, [STARTTLS + injected]))
            self.assertEqual(codes(said), CODES[1:], injected[:50])
        self.assertEqual({each.reverse_path.mailbox.local for each in self.delivery.transactions}, {"a"})

    async def test_injected_before_the_reply_is_read(self) -> None:
        # The server is kept busy by a policy, so that the second segment is in its socket when STARTTLS is its turn.
        for flood in (1, 1000):
            script = Script(policy_hello=[Answer(How.DEFERRED)])
            kept = min(1024, 50 * flood)
            address = await self.serve_tls(script, policies=[ScriptedPolicy(script)], limits=Limits(buffered=1024))
            injected = b"EHLO evil.test\r\nMAIL FROM:<evil@client.test>\r\n" * flood

            def talk(address: Any = address, injected: bytes = injected) -> bytes:
                with closing(connect(address)) as client:
                    read_until(client, b"\r\n")
                    client.sendall(STARTTLS)
                    client.sendall(injected)
                    said = read_until(client, READY)
                    self.assertEqual(codes(said), ["250", "220"])
                    with under_tls(client) as tls:
                        tls.sendall(CONVERSATION)
                        return read_all(tls)

            talking = self.in_thread(talk)
            await self.until(lambda script=script: script.waiting)
            [protocol] = self.factory.connections
            await self.until(lambda protocol=protocol, kept=kept: len(protocol._buffer) >= kept)
            script.release()
            self.assertEqual(codes(await talking), CODES[1:])
            self.assertEqual([str(each.reverse_path) for each in self.delivery.transactions], ["a@client.test"])

    async def test_injected_behind_the_reply(self) -> None:
        # That is no TLS, and ends the connection; nothing of it is taken for a command.
        events = self.events("twistsmtp.connection")
        address = await self.serve_tls()

        def talk() -> None:
            with contextlib.suppress(OSError):
                self.talk(address, [STARTTLS], extra=b"EHLO evil.test\r\nMAIL FROM:<evil@client.test>\r\n")
                self.fail("the handshake succeeded")

        await self.in_thread(talk)
        await self.until(lambda: events)
        self.assertRegex(events[0]["reason"], r"\ATLS handshake failed: .+")
        self.assertEqual((self.delivery.transactions, self.flushLoggedErrors()), ([], []))

    async def test_what_is_pipelined_before_it(self) -> None:
        address = await self.serve_tls(portal=portal(), plaintext_auth=True)
        before = f"EHLO x\r\nAUTH PLAIN {plain()}\r\nMAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\nRSET\r\nSTARTTLS\r\n"
        behind = b"MAIL FROM:<>\r\n" + CONVERSATION
        said = await self.in_thread(lambda: self.talk(address, [before.encode()], behind))
        self.assertEqual(codes(said), ["503", *CODES[1:]])
        self.assertIn(b" with ESMTPS id ", self.delivery.transactions[-1].octets)

    async def test_authentication_under_it(self) -> None:
        realm = Realm()
        address = await self.serve_tls(portal=portal(realm=realm), require_tls=True, require_auth=True)
        behind = f"EHLO x\r\nAUTH PLAIN\r\n{plain()}\r\n".encode() + CONVERSATION
        said = await self.in_thread(lambda: self.talk(address, [STARTTLS], behind))
        self.assertEqual(codes(said), ["250", "334", "235", *CODES[1:]])
        delivery: Any = realm.delivery
        self.assertIn(b" with ESMTPSA id ", delivery.transactions[0].octets)
        await self.until(lambda: realm.left)
        self.assertEqual(realm.left, realm.given)

    async def test_an_over_long_line_of_an_exchange_in_pieces(self) -> None:
        address = await self.serve_tls(portal=portal())
        behind = b"EHLO x\r\nAUTH PLAIN\r\n" + b"A" * 100_000 + b"\r\nNOOP\r\nAUTH PLAIN " + b"A" * 100_000
        behind += f"\r\nAUTH LOGIN {encoded('tim')}\r\n*\r\nQUIT\r\n".encode()
        said = await self.in_thread(lambda: self.talk(address, [STARTTLS], behind))
        self.assertEqual(codes(said), ["250", "334", "500", "250", "500", "334", "501", "221"])

    async def test_a_large_message_a_slow_delivery_and_a_slow_reader(self) -> None:
        script = Script(write=Answer(How.AWAITING))
        address = await self.serve_tls(script, limits=Limits(idle_commands=10_000))
        body = (b"x" * 998 + b"\r\n") * 4000

        def talk() -> bytes:
            with slow_reader(address) as client:
                client.sendall(STARTTLS)
                read_until(client, READY)
                with under_tls(client) as tls:
                    # Their replies fill all buffers, as nobody reads them while they are sent.
                    tls.sendall(b"HELP\r\n" * 3000)
                    helped = b""
                    while helped.count(b"\r\n214 ") < 3000:
                        helped += tls.recv(4096)
                    tls.sendall(CONVERSATION.replace(b"..\r\n", body))
                    return read_all(tls)

        talking = self.in_thread(talk)
        while not talking.called:
            await self.until(lambda: script.waiting or talking.called)
            if script.waiting:
                script.release()
        self.assertEqual(codes(await talking), CODES[1:])
        self.assertEqual(self.delivery.bodies, [b"Subject: x\r\n\r\n" + body])

    async def test_replies_that_are_not_read_before_it(self) -> None:
        # When they are too many the transport has us pause, and it is TLS that is to be told that they were read.
        address = await self.serve_tls(limits=Limits(idle_commands=10_000))

        def talk() -> bytes:
            with slow_reader(address) as client:
                client.sendall(b"EHLO x\r\n" + b"HELP\r\n" * 6000 + b"STARTTLS\r\n")
                said = read_until(client, READY)
                if not said.endswith(READY):
                    raise AssertionError(said[-100:])
                with under_tls(client) as tls:
                    tls.settimeout(3)
                    tls.sendall(CONVERSATION)
                    return read_all(tls)

        self.assertEqual(codes(await self.in_thread(talk)), CODES[1:])

    async def test_the_last_word_reaches_the_client(self) -> None:
        address = await self.serve_tls(limits=Limits(unknown_commands=3))
        behind = b"EHLO x\r\n" + b"XUNKNOWN\r\n" * 3 + b"MAIL FROM:<>\r\n" * 2000
        said = await self.in_thread(lambda: self.talk(address, [STARTTLS], behind))
        self.assertEqual(codes(said), ["250", "500", "500", "500", "421"])

    async def test_a_shutdown_reaches_the_client(self) -> None:
        address = await self.serve_tls()

        def talk() -> bytes:
            with closing(connect(address)) as client:
                client.sendall(STARTTLS)
                read_until(client, READY)
                with under_tls(client) as tls:
                    tls.sendall(b"EHLO x\r\n")
                    said = read_until(tls, b"\r\n250 ")
                    return said + read_all(tls)

        talking = self.in_thread(talk)
        await self.until(lambda: any(each.session.helo == "x" for each in self.factory.connections))
        await self.factory.shutdown(5)
        self.assertEqual(codes(await talking), ["250", "421"])

    async def test_a_handshake_that_never_comes(self) -> None:
        events = self.events("twistsmtp.connection")
        # A short idle time has the factory look often.
        address = await self.serve_tls(limits=Limits(handshake_time=0.1, idle_time=5))

        def talk() -> bytes:
            with closing(connect(address)) as client:
                client.sendall(STARTTLS)
                said = read_until(client, READY)
                client.sendall(HALF_A_HELLO)
                with contextlib.suppress(ConnectionError):
                    said += read_all(client)
                return said

        said = await self.in_thread(talk)
        self.assertEqual(codes(said), ["220", "250", "220"])
        await self.until(lambda: events)
        self.assertEqual(events[0]["reason"], "TLS handshake took too long")

    async def test_a_handshake_that_fails(self) -> None:
        events = self.events("twistsmtp.connection")
        address = await self.serve_tls()

        def talk() -> bytes:
            with closing(connect(address)) as client, closing(connect(address)) as other:
                client.sendall(STARTTLS)
                read_until(client, READY)
                client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
                with contextlib.suppress(ConnectionError):
                    read_all(client)
                other.sendall(CONVERSATION)
                return read_all(other)

        self.assertEqual(codes(await self.in_thread(talk)), CODES)
        await self.until(lambda: len(events) == 2)
        reasons = sorted(event["reason"] for event in events)
        self.assertEqual(reasons[0], "221 2.0.0 Bye")
        self.assertRegex(reasons[1], r"\ATLS handshake failed: .+")
        self.assertEqual(self.flushLoggedErrors(), [])


class EagerStartTLSTests(StartTLSTests):
    """With connections that send at once, as the daemon has them."""

    @staticmethod
    def prepare(port: Any) -> Any:
        from twistsmtp.eager import eager

        return eager(port)


class ImplicitTLSTests(LoopbackTestCase):
    """The rest is in tests/test_loopback_tls.py."""

    def prepare(self, port: Any) -> Any:  # type: ignore[override]  # which needs no instance
        port.factory = TLSMemoryBIOFactory(certificates(), False, port.factory)
        return port

    async def test_it_greets_behind_the_handshake(self) -> None:
        events = self.events("twistsmtp.connection")
        address = await self.serve()

        def talk() -> bytes:
            with closing(connect(address)) as plain, under_tls(plain) as client:
                said = read_until(client, b"\r\n")
                client.sendall(CONVERSATION)
                return said + read_all(client)

        self.assertEqual(codes(await self.in_thread(talk)), CODES)
        await self.until(lambda: events)
        self.assertEqual(events[0]["tls"], "TLSv1.3")

    async def test_plain_text_is_no_handshake(self) -> None:
        events = self.events("twistsmtp.connection")
        address = await self.serve()

        def talk() -> bytes:
            with closing(connect(address)) as client:
                client.sendall(CONVERSATION)
                with contextlib.suppress(ConnectionError):
                    return read_all(client)
                return b""

        self.assertNotIn(b"220", await self.in_thread(talk))
        await self.until(lambda: events)
        self.assertRegex(events[0]["reason"], r"\ATLS handshake failed: .+")
        self.assertEqual((self.delivery.transactions, self.flushLoggedErrors()), ([], []))
