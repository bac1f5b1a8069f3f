"""What it takes to run the code of a page: ports that the system chooses, and real clients."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import endpoints
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from twistsmtp import assembly

MESSAGE = "Subject: Hello\r\n\r\nA body.\r\n"


def listen_anywhere(case: TestCase) -> list[tuple[str, IListeningPort]]:
    """Have `serverFromString` make endpoints on 127.0.0.1 with a port that the system chooses.

    :returns: the strings that it is asked for, with the port that is listened on instead. They end with the test.
    """
    real = endpoints.serverFromString
    listening: list[tuple[str, IListeningPort]] = []

    class Anywhere:
        def __init__(self, reactor: Any, text: str) -> None:
            self.endpoint = real(reactor, "tcp:0:interface=127.0.0.1")
            self.text = text

        def listen(self, factory: Any) -> Deferred[IListeningPort]:
            port: Deferred[IListeningPort] = self.endpoint.listen(factory)
            return port.addCallback(self.listens)

        def listens(self, port: IListeningPort) -> IListeningPort:
            listening.append((self.text, port))
            case.addCleanup(port.stopListening)
            return port

    for module in (endpoints, assembly):
        case.patch(module, "serverFromString", Anywhere)
    return listening


def port_number(port: IListeningPort) -> int:
    """The number of a TCP port."""
    return cast(IPv4Address, port.getHost()).port


def in_client(port: int, talk: Callable[[smtplib.SMTP], Any]) -> Deferred[Any]:
    """What *talk* returns, which has a client of the standard library, in a thread."""

    def connect() -> Any:
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            return talk(client)

    return deferToThread(connect)


def send(
    port: int, *, sender: str = "ada@example.net", to: tuple[str, ...] = ("me@localhost",)
) -> Deferred[dict[str, tuple[int, bytes]]]:
    """Send a message with a real client.

    :returns: the recipients that were refused.
    """
    return in_client(port, lambda client: client.sendmail(sender, to, MESSAGE))
