"""Clients that send one message after the other, each in pieces, and connect again when they are told to go."""

from itertools import count
from typing import Any, cast

from twisted.internet.defer import Deferred, DeferredQueue, gatherResults
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineReceiver

from tests.tls.support import authority

__all__ = ["Load"]


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


class Load:
    """Clients that send until they are told that it is enough.

    :param port: of mx.test, on this machine.
    :param clients: how many there are; every other one uses STARTTLS.
    :param lines: of a message.
    """

    def __init__(self, port: int, clients: int, *, lines: int = 500) -> None:
        self.port = port
        self.lines = lines
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
        self._clients = [Deferred.fromCoroutine(self._send(encrypt=each % 2 == 1)) for each in range(clients)]

    async def more(self, messages: int) -> None:
        """Wait until so many more messages have been accepted."""
        waiting: Deferred[None] = Deferred()
        self._waiting = len(self.accepted) + messages, waiting
        await waiting

    async def end(self) -> None:
        """It is enough. Wait for the last messages."""
        self.goes_on = False
        await gatherResults(self._clients)

    async def _send(self, *, encrypt: bool) -> None:
        """Be a client, for as long as it goes on."""
        from twisted.internet import reactor

        where = clientFromString(reactor, f"tcp:127.0.0.1:{self.port}")
        while self.goes_on:
            client: Any = await where.connect(Factory.forProtocol(Client))
            client.transport.setTcpNoDelay(True)
            number = 0
            try:
                await self._greet(client, encrypt=encrypt)
                while self.goes_on:
                    client.sendLine(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA")
                    await client.expect(250, 250, 354)
                    number = next(self.numbers)
                    for piece in b"Subject: %d\r\n" % number, b"\r\n", b"hello\r\n" * self.lines, b"hello\r\n.\r\n":
                        client.transport.write(piece)
                        await deferLater(cast(IReactorTime, reactor), 0.002)
                    await client.expect(250)
                    self._accept(number)
                    number = 0
            except Unexpected as error:
                if number or error.code != 421:
                    self.broken.append(f"message {number}: {error}")
                self.dismissed += 1
            client.transport.loseConnection()

    async def _greet(self, client: Any, *, encrypt: bool) -> None:
        await client.expect(220)
        client.sendLine(b"EHLO client.test")
        await client.expect(250)
        if encrypt:
            client.sendLine(b"STARTTLS")
            await client.expect(220)
            client.transport.startTLS(self.tls)
            client.sendLine(b"EHLO client.test")
            await client.expect(250)

    def _accept(self, number: int) -> None:
        """Message *number* got its 250."""
        self.accepted.append(number)
        if self._waiting is not None and len(self.accepted) >= self._waiting[0]:
            (_, waiting), self._waiting = self._waiting, None
            waiting.callback(None)
