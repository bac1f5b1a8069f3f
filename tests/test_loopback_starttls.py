"""On real sockets: STARTTLS, and what somebody may slip in around it; and implicit TLS of our own."""

# Not `suppress` by itself: trial would take that name in a module for its own setting.
import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from queue import Queue
from typing import Any

from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.authentication import Realm, certificates, encoded, plain, portal
from tests.loopback import CODES, CONVERSATION, PATIENCE, LoopbackTestCase, codes, connect, read_all, talk_plainly
from tests.scripted import Answer, How, Script, ScriptedPolicy
from twistsmtp.limits import Limits
from twistsmtp.security import Security

STARTTLS = b"EHLO client.test\r\nSTARTTLS\r\n"
#: What somebody slips in.
INJECTED = b"EHLO evil.test\r\nMAIL FROM:<evil@client.test>\r\n"
#: How a ClientHello begins, and never goes on.
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00"


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
            said = await self.in_thread(partial(self.talk, address, [STARTTLS + injected]))
            self.assertEqual(codes(said), CODES[1:], injected[:50])
        self.assertEqual({str(each.reverse_path) for each in self.delivery.transactions}, {"a@client.test"})

    async def test_injected_before_the_reply_is_read(self) -> None:
        """A policy keeps the server busy, so that it all is in the server's buffer when it is STARTTLS's turn."""
        await self.inject_before_the_reply_is_read(INJECTED)

    async def test_injected_and_not_even_received(self) -> None:
        """The buffer is full, so that the last of it is in the socket still."""
        await self.inject_before_the_reply_is_read(INJECTED * 100)

    async def inject_before_the_reply_is_read(self, injected: bytes) -> None:
        from twisted.internet import reactor

        script = Script(policy_hello=[Answer(How.DEFERRED)])
        address = await self.serve_tls(script, policies=[ScriptedPolicy(script)], limits=Limits(buffered=1024))
        pieces: Queue[bytes] = Queue()

        def talk() -> bytes:
            with closing(connect(address)) as client:
                read_until(client, b"\r\n")
                for piece in iter(lambda: pieces.get(timeout=PATIENCE), b""):
                    client.sendall(piece)
                    pieces.task_done()
                said = read_until(client, READY)
                self.assertEqual(codes(said), ["250", "220"])
                with under_tls(client) as tls:
                    tls.sendall(CONVERSATION)
                    return read_all(tls)

        talking = self.in_thread(talk)
        pieces.put(STARTTLS)
        await self.until(lambda: script.waiting)
        [protocol] = self.factory.connections
        pieces.put(injected)
        await self.until(lambda: len(protocol._buffer) >= min(len(injected), 1024))
        pieces.put(INJECTED)
        await self.until(lambda: not pieces.unfinished_tasks)
        if len(injected) > 1024:
            readers: Any = reactor
            self.assertNotIn(protocol.transport, readers.getReaders())
            self.assertTrue(protocol.transport.socket.recv(1, socket.MSG_PEEK))
        pieces.put(b"")
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

    def prepare(self, port: Any) -> Any:
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
        self.assertNotIn(b"220", await self.in_thread(lambda: talk_plainly(address)))
        await self.until(lambda: events)
        self.assertRegex(events[0]["reason"], r"\ATLS handshake failed: .+")
        self.assertEqual((self.delivery.transactions, self.flushLoggedErrors()), ([], []))
