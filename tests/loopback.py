"""The server on real sockets of this machine, and clients that are plain blocking sockets in a thread."""

import socket
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, TypeVar

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.scripted import Script, ScriptedDelivery
from tests.support import split_replies
from twistsmtp.factory import SMTPFactory

__all__ = ["CODES", "CONVERSATION", "LoopbackTestCase", "codes", "connect", "read_all", "talk_plainly"]

T = TypeVar("T")

CONVERSATION = (
    b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n"
    b"Subject: x\r\n\r\n..\r\n.\r\nQUIT\r\n"
)
CODES = ["220", "250", "250", "250", "354", "250", "221"]
#: Seconds after which a client gives up; no test takes as long if all is well.
PATIENCE = 20


def connect(address: Any, family: int = socket.AF_INET) -> socket.socket:
    client = socket.socket(family)
    client.settimeout(PATIENCE)
    client.connect(address)
    return client


def read_all(client: socket.socket) -> bytes:
    """All that the server says until it closes its side."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def talk_plainly(address: Any) -> bytes:
    """What a server that waits for a handshake says to a client that begins with its commands."""
    with closing(connect(address)) as client:
        client.sendall(CONVERSATION)
        with suppress(ConnectionError):
            return read_all(client)
        return b""


def codes(octets: bytes) -> list[str]:
    return [reply[:3] for reply in split_replies(octets)]


class LoopbackTestCase(TestCase):
    """Serves on a socket, and sees to it that nothing is left of it."""

    timeout = 60
    #: What is done to the port that was made.
    prepare = staticmethod(lambda port: port)

    async def serve(
        self, endpoint: str = "tcp:0:interface=127.0.0.1", script: Script | None = None, **settings: Any
    ) -> Any:
        """Listen; the address to connect to."""
        from twisted.internet import reactor

        self.delivery = ScriptedDelivery(script)
        self.factory = SMTPFactory(self.delivery, hostname="mx.test", **settings)
        port = self.prepare(await serverFromString(reactor, endpoint).listen(self.factory))
        self.port: Any = port
        self.addCleanup(self.factory.shutdown, 0.1)
        self.addCleanup(port.stopListening)
        address = port.getHost()
        return (address.host, address.port) if hasattr(address, "host") else address.name

    def in_thread(self, function: Callable[[], T]) -> "Deferred[T]":
        return deferToThread(function)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what is about to happen."""
        from twisted.internet import reactor

        while not condition():
            await task.deferLater(reactor, 0.005)

    def events(self, namespace: str) -> list[LogEvent]:
        """The events of *namespace* from now on."""
        events: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_namespace") == namespace:
                events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return events
