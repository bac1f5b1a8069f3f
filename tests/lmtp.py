"""An LMTP server in memory, and its client's side."""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress

from tests.support import Client, Server
from twistsmtp.factory import LMTPFactory

__all__ = ["LMTPClient", "LMTPServer"]


class LMTPClient(Client):
    """Says LHLO."""

    def hello(self) -> "LMTPClient":
        self.read()
        self.say("LHLO client.test")
        return self


class LMTPServer(Server):
    """Has an `LMTPFactory`."""

    def __init__(self, delivery: Any = None, **settings: Any) -> None:
        super().__init__(delivery, **settings)
        self.factory = LMTPFactory(self.delivery, **{"hostname": "mx.test", "reactor": self.clock, **settings})

    def connect(self, peer: IAddress | str = "192.0.2.1") -> LMTPClient:
        return LMTPClient(self, IPv4Address("TCP", peer, next(self._ports)) if isinstance(peer, str) else peer)
