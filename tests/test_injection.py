"""Plain text behind STARTTLS, which anybody on the way could have slipped in (CVE-2011-0411): never carried out.

The service, sockets of this machine, and Python's own TLS on them.
"""

import contextlib
import re
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.loopback import connect
from tests.tls.support import authority, issue, write
from twistsmtp.config import load
from twistsmtp.service import SMTPService

T = TypeVar("T")

#: Twenty octets: with reads of ten, STARTTLS begins one.
HELLO = b"EHLO client-1.test\r\n"
STARTTLS = b"STARTTLS\r\n"
#: What is slipped in. Each would leave something that can be seen.
EVIL = {
    "a transaction": b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@mx.test>\r\n",
    "a message": b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n.\r\n",
    "the beginning of a message": b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nSubject: evil\r\n",
    "a name": b"EHLO evil.test\r\n",
    "a login": b"EHLO evil.test\r\nAUTH PLAIN AGJvYgBzZWNyZXQ=\r\n",
    "the beginning of a login": b"EHLO evil.test\r\nAUTH LOGIN\r\n",
    "the beginning of a command": b"MAIL FROM:<evil@x.test>",
    "a good-bye": b"QUIT\r\n",
    "a line without an end": b"x" * 5000,
    "a lot of commands": b"NOOP\r\n" * 5000,
    "the same again": STARTTLS,
}


class Peer:
    """A client's socket, with or without TLS on it."""

    def __init__(self, port: int) -> None:
        self.socket: socket.socket = connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._kept = b""

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def reply(self) -> str:
        """The next reply's last line."""
        while not (match := re.search(rb"^\d{3} [^\r\n]*\r\n", self._kept, re.MULTILINE)):
            octets = self.socket.recv(4096)
            if not octets:
                raise EOFError("closed")
            self._kept += octets
        self._kept = self._kept[match.end() :]
        return match[0].decode().strip()

    def say(self, octets: bytes) -> str:
        """The reply to *octets*."""
        self.send(octets)
        return self.reply()

    def begin_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands. What came before has been read."""
        assert self._kept == b"", self._kept
        self.socket = context.wrap_socket(self.socket, server_hostname="mx.test")

    def close(self) -> None:
        self.socket.close()


class InjectionTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.addCleanup(shutil.rmtree, self.folder)
        write(self.folder / "mx.pem", issue("mx.test"))
        authority().cert_pem.write_to_path(str(self.folder / "ca.pem"))
        self.context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        self.logins: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_namespace") == "twistsmtp.auth":
                self.logins.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def start(self, **settings: object) -> None:
        """Start the service. Who has authenticated in the open could send."""
        options = {
            "listen": ["tcp:0:interface=127.0.0.1"],
            "hostname": "mx.test",
            "domain": ["mx.test"],
            "delivery": "memory:",
            "tls-cert": [str(self.folder / "mx.pem")],
            "auth": ["memory:bob:secret"],
            "plaintext-auth": True,
        }
        service = SMTPService(load({**options, **{name.replace("_", "-"): value for name, value in settings.items()}}))
        service.startService()
        self.addCleanup(service.factory.shutdown, 0.1)
        self.addCleanup(service.stopService)
        self.delivery: Any = service.factory.delivery
        port: Any = service.ports[0]
        self.port: int = port.getHost().port

    def talk(self, talk: Callable[..., T], *arguments: Any, peer: Peer | None = None) -> "Deferred[T]":
        """What *talk* returns, in a thread; it has a client, by default a new one, and *arguments*."""

        def run() -> T:
            with contextlib.closing(peer or Peer(self.port)) as client:
                return talk(client, *arguments)

        return deferToThread(run)

    def greeted(self, peer: Peer) -> Peer:
        assert peer.reply().startswith("220 ")
        assert peer.say(HELLO).startswith("250 ")
        return peer

    def assert_nothing_ran(self, peer: Peer) -> None:
        """Over TLS, all is as in a new connection."""
        self.assertEqual(peer.say(b"MAIL FROM:<a@client.test>\r\n")[:9], "503 5.5.1", "somebody has said EHLO")
        self.assertEqual(peer.say(b"EHLO after.test\r\n")[:4], "250 ")
        self.assertEqual(peer.say(b"RCPT TO:<b@mx.test>\r\n")[:9], "503 5.5.1", "there is a transaction")
        self.assertEqual(peer.say(b"MAIL FROM:<a@client.test>\r\n")[:9], "250 2.1.0")
        self.assertEqual(peer.say(b"RCPT TO:<c@elsewhere.test>\r\n")[:9], "550 5.7.1", "somebody has logged in")
        self.assertEqual(peer.say(b"RCPT TO:<b@mx.test>\r\n")[:9], "250 2.1.5")
        self.assertEqual(peer.say(b"DATA\r\n")[:4], "354 ")
        self.assertEqual(peer.say(b"Subject: good\r\n\r\ngood\r\n.\r\n")[:9], "250 2.0.0")
        self.assertEqual(peer.say(b"QUIT\r\n")[:4], "221 ")
        self.assertEqual(peer.socket.recv(1), b"", "something was said besides")

    def assert_one_message(self, *, helo: bytes = b"after.test") -> None:
        """The one that came over TLS is all that the server has."""
        [message] = self.delivery.messages
        self.assertTrue(message.octets.endswith(b"\r\nSubject: good\r\n\r\ngood\r\n"), message.octets)
        self.assertIn(b"Received: from %b (" % helo, message.octets)
        self.assertIn(b" with ESMTPS id ", message.octets)
        self.assertEqual(self.logins, [])
        self.delivery.messages.clear()

    async def test_in_one_segment(self) -> None:
        self.start(relay_authenticated=True)

        def talk(peer: Peer, evil: bytes) -> None:
            self.greeted(peer).send(STARTTLS + evil)
            self.assertEqual(peer.reply()[:9], "220 2.0.0")
            peer.begin_tls(self.context)
            self.assert_nothing_ran(peer)

        for evil in EVIL.values():
            await self.talk(talk, evil)
            self.assert_one_message()

    async def test_in_one_segment_with_all_before_it(self) -> None:
        """Where the client waits for nothing."""
        self.start(relay_authenticated=True)

        def talk(peer: Peer, evil: bytes) -> None:
            assert peer.reply().startswith("220 ")
            peer.send(HELLO + STARTTLS + evil)
            self.assertEqual([peer.reply()[:4], peer.reply()[:4]], ["250 ", "220 "])
            peer.begin_tls(self.context)
            self.assert_nothing_ran(peer)

        for evil in EVIL.values():
            await self.talk(talk, evil)
            self.assert_one_message()

    async def test_in_a_segment_of_its_own(self) -> None:
        """It waits, unread, when the server reads STARTTLS: nobody but the server has had a turn in between."""
        self.patch(FileDescriptor, "bufferSize", len(STARTTLS))
        self.start(relay_authenticated=True)

        def go_on(peer: Peer) -> None:
            self.assertEqual(peer.reply()[:9], "220 2.0.0")
            peer.begin_tls(self.context)
            self.assert_nothing_ran(peer)

        for evil in EVIL.values():
            peer = Peer(self.port)
            await deferToThread(self.greeted, peer)
            peer.send(STARTTLS)
            peer.send(evil)
            await self.talk(go_on, peer=peer)
            self.assert_one_message()

    async def test_as_fast_as_it_comes(self) -> None:
        """Right behind STARTTLS, before or after the server's reply: the handshake works or fails, and that is all."""
        self.start(relay_authenticated=True)
        works = 0

        def talk(peer: Peer, evil: bytes) -> bool:
            self.greeted(peer).send(STARTTLS)
            peer.send(evil)
            try:
                self.assertEqual(peer.reply()[:9], "220 2.0.0")
                peer.begin_tls(self.context)
            except OSError:  # what TLS raises, too
                return False
            self.assert_nothing_ran(peer)
            return True

        for evil in [*EVIL.values()] * 5:
            if await self.talk(talk, evil):
                works += 1
                self.assert_one_message()
            self.assertEqual((self.delivery.messages, self.logins), ([], []))

    async def test_in_place_of_the_handshake(self) -> None:
        """After the reply: that is no TLS, and ends the connection. Others do not notice."""
        self.start()

        def talk(peer: Peer, evil: bytes) -> bytes:
            self.greeted(peer).send(STARTTLS)
            self.assertEqual(peer.reply()[:9], "220 2.0.0")
            # Whoever is cut off at once may not get all of it out; and TLS waits for the end of what may be a hello.
            with contextlib.suppress(ConnectionError):
                peer.send(evil + b"\r\n" * 10)
                return peer.socket.recv(4096)
            return b""

        bystander = Peer(self.port)
        await deferToThread(self.greeted, bystander)
        self.assertEqual((await deferToThread(bystander.say, b"MAIL FROM:<a@client.test>\r\n"))[:4], "250 ")
        for evil in EVIL.values():
            said = await self.talk(talk, evil)
            # Nothing, or an alert of TLS.
            self.assertRegex(said, rb"\A(\x15\x03[\x00-\x04]\x00\x02\x02.)?\Z")
        self.assertEqual((self.delivery.messages, self.logins), ([], []))

        def end(peer: Peer) -> list[str]:
            commands = b"RCPT TO:<b@mx.test>\r\n", b"DATA\r\n", b"Subject: good\r\n\r\ngood\r\n.\r\n", b"QUIT\r\n"
            return [peer.say(each)[:3] for each in commands]

        self.assertEqual(await self.talk(end, peer=bystander), ["250", "354", "250", "221"])
        self.assertEqual(len(self.delivery.messages), 1)

    async def test_a_client_that_waits_for_nothing(self) -> None:
        """A hello of TLS right behind STARTTLS is thrown away with all else, and the client's time runs out."""
        # The server looks after its clients the more often the shorter a window of the rate of DATA is.
        self.start(**{"limits.handshake-time": 0.2, "limits.data-window": 1})

        def talk(peer: Peer) -> str:
            self.greeted(peer)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = self.context.wrap_bio(incoming, outgoing, server_hostname="mx.test")
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            peer.send(STARTTLS + outgoing.read())
            reply = peer.reply()
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(peer.socket.recv(4096), b"")
            return reply[:9]

        self.assertEqual(await self.talk(talk), "220 2.0.0")
