"""Who a client is, as far as its address tells: the address itself, whom it is counted for, and who is trusted."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

from twistsmtp.wire.proxy import ProxyHeader

__all__ = ["Clients", "Networks", "ProxiedAddress", "UnknownAddress", "client_of", "network_of"]


def client_of(peer: IAddress) -> str:
    """The address *peer* as text: an IP address; ``"local"`` for a unix socket; ``"unknown"``."""
    host: str = getattr(peer, "host", None) or "local"
    return _unmapped(host) if host.startswith("::ffff:") else host


def network_of(client: str) -> str:
    """Whom *client* is counted for: an IPv4 address, the /64 network that one site has of IPv6, or ``""``."""
    if ":" in client:
        return _site_of(client)
    return client if client[:1].isdigit() else ""


# To take an IPv6 address apart costs a tenth of a connection, and most clients come again.
@lru_cache(maxsize=1024)
def _unmapped(host: str) -> str:
    """What a dual-stack socket makes of an IPv4 address (RFC 4291 section 2.5.5.2) is that address again, however it
    is written."""
    mapped = IPv6Address(host).ipv4_mapped
    return str(mapped) if mapped else host


@lru_cache(maxsize=1024)
def _site_of(client: str) -> str:
    return str(IPv6Network((client.partition("%")[0], 64), strict=False))


@implementer(IAddress)
@dataclass(frozen=True, slots=True)
class UnknownAddress:
    """The address of a client that somebody else speaks for, and does not know."""

    host: str = "unknown"
    port: int = 0


@implementer(IAddress)
@dataclass(frozen=True, slots=True)
class ProxiedAddress:
    """What ``buildProtocol`` is told of a connection that has come by a proxy."""

    #: The client's own address.
    client: IAddress
    #: What the proxy has said.
    header: ProxyHeader


class Networks:
    """Addresses, as they are trusted together.

    :param names: networks (``"192.0.2.0/24"``), addresses, and ``"unix"`` for all unix sockets.
    :raises ValueError: one of them is none of these.
    """

    def __init__(self, names: Iterable[str]) -> None:
        names = tuple(names)
        self._unix = "unix" in names
        self._networks = tuple(ip_network(name) for name in names if name != "unix")
        self._names = names

    def __contains__(self, address: object) -> bool:
        """Whether *address*, an `IAddress`, is one of them."""
        if isinstance(address, UNIXAddress):
            return self._unix
        if not IAddress.providedBy(address):
            return False
        try:
            host = ip_address(client_of(address).partition("%")[0])
        except ValueError:
            return False
        return any(host in network for network in self._networks)

    def __bool__(self) -> bool:
        return bool(self._names)

    def __repr__(self) -> str:
        return f"Networks({self._names!r})"


class Clients:
    """How many connections there are now, by whom they are counted for."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._total = 0

    def enter(self, network: str) -> None:
        """There is one more."""
        self._counts[network] = self._counts.get(network, 0) + 1
        self._total += 1

    def leave(self, network: str) -> None:
        """There is one less."""
        left = self._counts.pop(network, 0) - 1
        if left > 0:
            self._counts[network] = left
        self._total -= 1

    def count(self, network: str) -> int:
        """How many there are."""
        return self._counts.get(network, 0)

    @property
    def total(self) -> int:
        """How many there are of all."""
        return self._total

    def __len__(self) -> int:
        return len(self._counts)
