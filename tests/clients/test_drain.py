"""``twistd smtp`` is stopped, started and told to read its files again, and whoever is in the middle of a message
notices nothing of it.

Each server of `LoadTests` inherits the socket that the one before it listened on, as under systemd. So nobody is turned
away, either: who connects while there is no server waits for the next one.
"""

import json
import os
import signal
import smtplib
import socket
import sys
from itertools import count
from typing import Any, cast

from twisted.internet.defer import Deferred, DeferredQueue, gatherResults
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.basic import LineReceiver

from tests.clients.kit import ROOT, TWISTD, Process
from tests.clients.submission import SubmissionTestCase
from tests.tls.support import authority

#: How often the server is told to read its files again, and how often it is stopped and started, taken together.
TIMES = int(os.environ.get("TWISTSMTP_DRAINS", "20"))
#: Clients, of whom every other one uses STARTTLS; and messages between one signal and the next.
CLIENTS = 16
BETWEEN = 24


class DrainTestCase(SubmissionTestCase):
    """The server as a process."""

    def setUp(self) -> None:
        super().setUp()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.addCleanup(self.listening.close)
        self.port: int = self.listening.getsockname()[1]

    def configure(self, **settings: object) -> None:
        """Write the file that the server reads."""
        lines = {
            "listen": "fd:3",
            "hostname": "mx.test",
            "domain": "mx.test",
            "delivery": f"maildir:{self.maildir.resolve()}:create=yes",
            "tls-cert": self.certificate,
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
        self.path = self.file("smtp.toml", text.encode())

    async def begin(self) -> Process:
        """A server that runs."""
        from twisted.internet import reactor

        process = Process()
        command = [sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile=", "smtp", "--config", self.path]
        home = str(self.folder.resolve())
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "PYTHONPATH": str(ROOT)}
        descriptors = {0: "w", 1: "r", 2: "r", 3: self.listening.fileno()}
        spawn = cast(Any, reactor).spawnProcess
        spawn(process, command[0], command, env, home, childFDs=descriptors)

        def end() -> Deferred[Process]:
            process.kill()
            return process.ended()

        self.addCleanup(end)
        await process.says("gives it to ")
        return process


class StopTests(DrainTestCase):
    """SIGTERM, and once more."""

    def connect(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.port, timeout=60)
        client.ehlo("client.test")
        return client

    def begin_message(self) -> smtplib.SMTP:
        client = self.connect()
        for command in "MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", "DATA":
            client.docmd(command)
        client.send(b"Subject: hello\r\n")
        return client

    async def test_a_message_may_end(self) -> None:
        self.configure()
        process = await self.begin()
        idle = await deferToThread(self.connect)
        amid = await deferToThread(self.begin_message)
        process.signal("TERM")

        code, text = await deferToThread(idle.getreply)
        self.assertEqual((code, text[:5]), (421, b"4.3.2"))
        self.assertIsNone(process.status)

        def finish() -> list[tuple[int, bytes]]:
            amid.send(b"\r\nhello\r\n.\r\n")
            return [amid.getreply(), amid.getreply()]

        accepted, down = await deferToThread(finish)
        self.assertEqual((accepted[0], down[0]), (250, 421))
        for each in idle, amid:
            each.close()
        await process.ended()
        self.assertEqual(process.status, -signal.SIGTERM)
        self.assertNotIn("Traceback", str(process))
        (stored,) = self.stored_here()
        self.assertEqual(stored.octets, b"Subject: hello\r\n\r\nhello\r\n")

    async def test_at_once_on_a_second_signal(self) -> None:
        for first, second in ("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT"):
            self.configure(drain_time="1h")
            process = await self.begin()
            amid = await deferToThread(self.begin_message)
            process.signal(first)
            await process.says(rf"Received SIG{first}, shutting down")
            process.signal(second)
            code, text = await deferToThread(amid.getreply)
            self.assertEqual((code, text[:5]), (421, b"4.3.2"))
            await process.ended()
            self.assertEqual(process.status, -getattr(signal, f"SIG{first}"))
            self.assertNotIn("Traceback", str(process))
            amid.close()
            self.assertEqual([*self.stored_here()], [])

    async def test_who_does_not_go_is_left(self) -> None:
        """A client that is told to go, and keeps its side open, has a moment to go."""
        self.configure(drain_time="1h")
        process = await self.begin()
        idle = await deferToThread(self.connect)
        process.signal("TERM")
        await process.ended()
        self.assertEqual(process.status, -signal.SIGTERM)
        idle.close()

    async def test_when_the_time_is_over(self) -> None:
        self.configure(drain_time=0.1)
        process = await self.begin()
        amid = await deferToThread(self.begin_message)
        process.signal("TERM")
        code, _ = await deferToThread(amid.getreply)
        self.assertEqual(code, 421)
        await process.ended()
        amid.close()
        self.assertEqual([*self.stored_here()], [])


class Unexpected(Exception):
    """Another reply came than the one that was to; or, of code 0, the end of the connection."""

    def __init__(self, code: int) -> None:
        super().__init__(f"got {code}")
        self.code = code


class Client(LineReceiver):
    """One connection."""

    def __init__(self) -> None:
        self.codes: DeferredQueue[int] = DeferredQueue()

    def lineReceived(self, line: bytes) -> None:
        if line[3:4] != b"-":
            self.codes.put(int(line[:3]))

    def connectionLost(self, reason: object = None) -> None:
        self.codes.put(0)

    async def expect(self, *codes: int) -> None:
        """Wait for replies.

        :raises Unexpected: another one came.
        """
        for code in codes:
            came = await self.codes.get()
            if came != code:
                raise Unexpected(came)


class LoadTests(DrainTestCase):
    """Clients that send one message after the other, each in pieces, and connect again when they are told to go."""

    timeout = 60 + 5 * TIMES

    def setUp(self) -> None:
        super().setUp()
        self.goes_on = True
        self.numbers = count(1)
        #: The numbers of the messages that got their 250, and how connections ended before they should have.
        self.accepted: list[int] = []
        self.broken: list[str] = []
        #: How many connections were ended by 421.
        self.dismissed = 0
        self._waiting: tuple[int, Deferred[None]] | None = None
        trusted = trustRootFromCertificates([Certificate.loadPEM(authority().cert_pem.bytes())])
        self.tls = optionsForClientTLS("mx.test", trusted)

    async def send(self, *, encrypt: bool) -> None:
        """Be a client, for as long as it goes on."""
        from twisted.internet import reactor

        where = clientFromString(reactor, f"tcp:127.0.0.1:{self.port}")
        while self.goes_on:
            client: Any = await where.connect(Factory.forProtocol(Client))
            number = 0
            try:
                await self.greet(client, encrypt=encrypt)
                while self.goes_on:
                    client.sendLine(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA")
                    await client.expect(250, 250, 354)
                    number = next(self.numbers)
                    for piece in b"Subject: %d\r\n" % number, b"\r\n", b"hello\r\n" * 500, b"hello\r\n.\r\n":
                        client.transport.write(piece)
                        await deferLater(cast(IReactorTime, reactor), 0.002)
                    await client.expect(250)
                    self.accept(number)
                    number = 0
            except Unexpected as error:
                if number or error.code != 421:
                    self.broken.append(f"message {number}: {error}")
                self.dismissed += 1
            client.transport.loseConnection()

    async def greet(self, client: Any, *, encrypt: bool) -> None:
        await client.expect(220)
        client.sendLine(b"EHLO client.test")
        await client.expect(250)
        if encrypt:
            client.sendLine(b"STARTTLS")
            await client.expect(220)
            client.transport.startTLS(self.tls)
            client.sendLine(b"EHLO client.test")
            await client.expect(250)

    def accept(self, number: int) -> None:
        """Message *number* got its 250."""
        self.accepted.append(number)
        if self._waiting is not None and len(self.accepted) >= self._waiting[0]:
            (_, waiting), self._waiting = self._waiting, None
            waiting.callback(None)

    async def more(self) -> None:
        """Wait until some more messages have been accepted."""
        waiting: Deferred[None] = Deferred()
        self._waiting = len(self.accepted) + BETWEEN, waiting
        await waiting

    async def test_nobody_is_broken_off(self) -> None:
        self.configure()
        process = await self.begin()
        clients = [Deferred.fromCoroutine(self.send(encrypt=each % 2 == 1)) for each in range(CLIENTS)]
        for turn in range(TIMES):
            await self.more()
            if turn % 2 == 0:
                self.issue("mx.pem", "mx.test", f"{turn}.test")
                self.configure(max_size=1_000_000 + turn)
                process.signal("HUP")
                await process.says("the configuration was read again: max-size changed")
            else:
                process.signal("TERM")
                await process.ended()
                self.assertEqual(process.status, -signal.SIGTERM, str(process))
                self.assertNotIn("Traceback", str(process))
                process = await self.begin()
        await self.more()
        self.goes_on = False
        await gatherResults(clients)
        process.signal("TERM")
        await process.ended()

        self.assertEqual(self.broken, [])
        numbers = sorted(int(each.octets.split()[1]) for each in self.stored_here())
        self.assertEqual(numbers, sorted(self.accepted))
        self.assertGreater(self.dismissed, TIMES // 2)
