"""Connections that come by a proxy, which says in front of everything else who the client is (`twistsmtp.wire.proxy`).

`ProxiedFactory` goes around the factory whose connections they are; for TLS from the first octet on, around that of
TLS, as a proxy's header is always plain::

    endpoint.listen(ProxiedFactory(smtp_factory, ["10.0.0.0/24"]))
    endpoint.listen(ProxiedFactory(TLSFactory(certificates, False, smtp_factory), ["10.0.0.0/24"]))

Nothing of the other factory is there before the header is. Then its ``buildProtocol`` is told the client's address, as
a `ProxiedAddress`, and its protocol takes over the connection itself. So the greeting, policies, limits, the log and
Received fields know the client alone, and STARTTLS works as ever.

A client that could say by itself where it comes from would get around every rule that is made for addresses. So a
connection is closed that is not from a trusted address, whatever it has to say, and so is one that does not begin with
a header, or not in time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twistsmtp.clients import Networks, ProxiedAddress, client_of
from twistsmtp.wire.proxy import Family, Place, ProxyError, ProxyHeader, SocketAddress, read_header

__all__ = ["ProxiedEndpoint", "ProxiedFactory"]

#: Seconds that a proxy has for its header; its document asks for 3 at least.
PROXY_TIME = 10.0
#: Connections that may wait for their header at one time.
WAITING = 1000

_log = Logger(namespace="twistsmtp.proxied")


@implementer(IProtocolFactory)
class ProxiedFactory:
    """Makes the connections of *factory*, each when its header is there.

    :param factory: an `SMTPFactory`, or another that knows what a `ProxiedAddress` is; or one of TLS around it.
    :param trusted: where proxies are: `Networks`, or the names of some.
    :param proxy_time: seconds that a proxy has for its header.
    :param waiting: connections that may wait for their header at one time.
    :param reactor: the clock; by default the global reactor.
    :raises ValueError: nobody is trusted, or one of *trusted* is no network; or a limit is not positive.
    """

    noisy = False

    def __init__(
        self,
        factory: IProtocolFactory,
        trusted: Networks | Iterable[str],
        *,
        proxy_time: float = PROXY_TIME,
        waiting: int = WAITING,
        reactor: IReactorTime | None = None,
    ) -> None:
        if not (0 < proxy_time < inf and waiting > 0):
            raise ValueError("proxy_time and waiting must be more than 0, and have an end")
        self.factory = factory
        self.trusted = trusted if isinstance(trusted, Networks) else Networks(trusted)
        if not self.trusted:
            raise ValueError("no address is trusted to be a proxy's")
        self.proxy_time = proxy_time
        self.waiting = waiting
        self.connections: set[_Header] = set()
        self._reactor = reactor

    @property
    def reactor(self) -> IReactorTime:
        """The clock."""
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorTime, reactor)
        return self._reactor

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """Twisted's word that somebody connects; ``None`` closes the connection."""
        if addr not in self.trusted:
            _log.warn("{address} is not trusted to speak for others: closed", address=client_of(addr))
        elif len(self.connections) >= self.waiting:
            _log.warn("{address}: too many connections wait for their PROXY header: closed", address=client_of(addr))
        else:
            return _Header(self, addr)
        return None

    def doStart(self) -> None:
        """Twisted's word that a port listens."""
        self.factory.doStart()

    def doStop(self) -> None:
        """Twisted's word that it does so no more. Who has not said yet for whom it connects never will."""
        for each in tuple(self.connections):
            each.give_up("the server shuts down")
        self.factory.doStop()

    def logPrefix(self) -> str:
        """What Twisted calls the port in its log."""
        return "PROXY"


class _Header(Protocol):
    """Reads the header of one connection, and gives the connection over."""

    transport: Any

    def __init__(self, factory: ProxiedFactory, proxy: IAddress) -> None:
        self._factory = factory
        self._proxy = proxy
        self._octets = b""

    def connectionMade(self) -> None:
        factory = self._factory
        factory.connections.add(self)
        self._late = factory.reactor.callLater(factory.proxy_time, self.give_up, "no PROXY header came in time")

    def dataReceived(self, data: bytes) -> None:
        if self not in self._factory.connections:
            return
        self._octets += data
        try:
            found = read_header(self._octets)
        except ProxyError as error:
            self.give_up(str(error))
            return
        if found is not None:
            self._hand_over(*found)

    def _hand_over(self, header: ProxyHeader, taken: int) -> None:
        self._forget()
        transport, rest = self.transport, self._octets[taken:]
        protocol: Any = self._factory.factory.buildProtocol(ProxiedAddress(_address(header, self._proxy), header))
        if protocol is None:
            transport.abortConnection()
            return
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if rest:
            protocol.dataReceived(rest)

    def give_up(self, why: str) -> None:
        """The connection is dropped at once, as the document wants it."""
        _log.warn("{address}: {why}: closed", address=client_of(self._proxy), why=why)
        self._forget()
        self.transport.abortConnection()

    def _forget(self) -> None:
        self._factory.connections.discard(self)
        if self._late.active():
            self._late.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._forget()


def _address(header: ProxyHeader, proxy: IAddress) -> IAddress:
    """The client's address. That of the connection itself holds where the header has none: it is for the proxy itself,
    or the proxy does not know."""
    source: Place | None = header.source
    if isinstance(source, SocketAddress):
        kind = IPv4Address if header.family is Family.INET else IPv6Address
        return kind("TCP", source.host, source.port)
    return proxy if source is None else UNIXAddress(source)


@implementer(IStreamServerEndpoint)
@dataclass(frozen=True)
class ProxiedEndpoint:
    """Listens as another endpoint does, for connections that come by proxies.

    :param endpoint: an `IStreamServerEndpoint` whose connections are plain.
    """

    endpoint: Any
    trusted: Networks
    proxy_time: float = PROXY_TIME

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `IStreamServerEndpoint`."""
        proxied = ProxiedFactory(factory, self.trusted, proxy_time=self.proxy_time)
        port: Deferred[IListeningPort] = self.endpoint.listen(proxied)
        return port
