"""twisted.mail's ESMTP server that accepts every message and drops it: ``accept_twistedmail.py PORT CERTIFICATE``."""

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.internet.ssl import PrivateCertificate
from twisted.mail.smtp import ESMTP, IMessage, IMessageDelivery
from zope.interface import implementer


@implementer(IMessage)
class Message:
    """Comes line by line."""

    def lineReceived(self, line: bytes) -> None:
        pass

    def eomReceived(self) -> "Deferred[None]":
        return succeed(None)

    def connectionLost(self) -> None:
        pass


@implementer(IMessageDelivery)
class Discard:
    """Everybody may send to everybody."""

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: from client by mx.example.com"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> type[Message]:
        return Message


class Factory(ServerFactory):
    """Makes the connections."""

    noisy = False

    def __init__(self, certificate: Path) -> None:
        self._context = PrivateCertificate.loadPEM(certificate.read_bytes()).options()

    def buildProtocol(self, addr: IAddress | None) -> ESMTP:
        protocol = ESMTP(contextFactory=self._context)
        protocol.host = b"mx.example.com"
        protocol.delivery = Discard()
        protocol.noisy = False
        protocol.factory = self
        return protocol


if __name__ == "__main__":
    from twisted.internet import reactor

    reactor.listenTCP(int(sys.argv[1]), Factory(Path(sys.argv[2])), interface="127.0.0.1")
    reactor.run()
