"""The DNS for tests: one in memory, that does as it is told, and a server on a socket of this machine."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.names import authority, dns, server
from twisted.names.common import ResolverBase
from twisted.names.error import DNSNameError
from twisted.trial.unittest import TestCase

__all__ = ["SOA", "TTL", "Names", "a", "aaaa", "ptr", "serve_names", "txt"]

#: Seconds that records are good for, and that it is known that there is none.
TTL, NOTHING = 300, 60
SOA = dns.RRHeader("test", dns.SOA, ttl=TTL, payload=dns.Record_SOA("ns.test", "root.test", minimum=NOTHING, ttl=TTL))


def a(*addresses: str) -> list[Any]:
    return [dns.Record_A(each, TTL) for each in addresses]


def aaaa(*addresses: str) -> list[Any]:
    return [dns.Record_AAAA(each, TTL) for each in addresses]


def ptr(*names: str) -> list[Any]:
    return [dns.Record_PTR(each.encode("latin-1"), TTL) for each in names]


def txt(*texts: str) -> list[Any]:
    return [dns.Record_TXT(each.encode("latin-1"), ttl=TTL) for each in texts]


class Names(ResolverBase):
    """A resolver in memory. What it does not know there is not.

    :param records: by name; an exception is what the resolver fails with.
    :param waits: answer when the test releases it.
    """

    def __init__(self, records: Mapping[str, Any], *, waits: bool = False) -> None:
        ResolverBase.__init__(self)
        self.records = dict(records)
        self.waits = waits
        #: What it has been asked, and what of that was taken back.
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self._held: list[tuple[str, int, Deferred[Any]]] = []

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any) -> Deferred[Any]:
        text = name.decode()
        self.asked.append(text)
        if not self.waits:
            return self._answer(text, type)
        held: Deferred[Any] = Deferred(lambda _: self.cancelled.append(text))
        self._held.append((text, type, held))
        return held

    def release(self) -> None:
        """Answer all that is asked by now."""
        held, self._held = self._held, []
        for name, type, waiting in held:
            if not waiting.called:
                self._answer(name, type).chainDeferred(waiting)

    def _answer(self, name: str, type: int) -> Deferred[Any]:
        known = self.records.get(name.lower())
        if isinstance(known, Exception):
            return fail(known)
        if known is None:
            return fail(_no_such_name())
        found = [dns.RRHeader(name, each.TYPE, ttl=each.ttl, payload=each) for each in known]
        answers = [each for each in found if each.type in (type, dns.CNAME)]
        return succeed((answers, [] if answers else [SOA], []))


def _no_such_name() -> DNSNameError:
    message = dns.Message(rCode=dns.ENAME)
    message.authority = [SOA]
    return DNSNameError(message)


def serve_names(test: TestCase, zones: Mapping[str, Mapping[str, list[Any]]]) -> int:
    """Serve *zones*, by UDP and TCP, until *test* has ended.

    :param zones: the records of names, by zone and name.
    :returns: the port.
    """
    from twisted.internet import reactor

    running: Any = reactor
    factory = server.DNSServerFactory(authorities=list(map(_Authority, zones.items())))
    factory.noisy = False
    listening = running.listenTCP(0, factory, interface="127.0.0.1")
    test.addCleanup(listening.stopListening)
    port = int(listening.getHost().port)
    udp = running.listenUDP(port, _Datagrams(factory), interface="127.0.0.1")
    test.addCleanup(udp.stopListening)

    def hang_up() -> None:
        for connection in tuple(factory.connections):
            connection.transport.abortConnection()

    test.addCleanup(hang_up)
    return port


class _Datagrams(dns.DNSDatagramProtocol):
    """Cuts what is too long for a datagram (RFC 1035 section 4.2.1), as Twisted's server by itself does not."""

    def writeMessage(self, message: dns.Message, address: tuple[str, int]) -> None:  # noqa: N802 (Twisted's name)
        message.maxSize = 512
        super().writeMessage(message, address)


class _Authority(authority.FileAuthority):
    soa: Any
    records: Any

    def loadFile(self, filename: Any) -> None:  # noqa: N802 (Twisted's name)
        """It is no file, but a zone and its names."""
        zone, names = filename
        soa = dns.Record_SOA(f"ns.{zone}", f"root.{zone}", minimum=NOTHING, ttl=TTL)
        self.soa = (zone.encode(), soa)
        self.records = {name.encode(): list(records) for name, records in names.items()}
        self.records.setdefault(zone.encode(), []).append(soa)
