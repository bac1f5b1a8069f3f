"""The DNS, as policies ask it: with a time limit, a cache, and never twice at one time for the same.

`DNS` asks the name servers of the machine, by ``twisted.names``::

    dns = DNS()
    names = await awaited(dns.ptr(ip_address("192.0.2.7")))

What comes is text, and a tuple of it: an empty one where the name does not exist, or has nothing of that kind. Where
nobody can tell, as a server fails or does not answer in time, `NoAnswer` is raised.

Each answer is kept as long as its own time to live says, and one that there is nothing as long as the zone's SOA says
(RFC 2308); so much of it as there is room for, and the longest unused goes first. Many may ask for the same: one query
goes out, and it is taken back when the last who waits for it has gone.

What has not answered again and again is remembered (`Circuits`). A *zone*, as that of a DNS list, is not asked for a
while. Name servers that seem to be down are, and get a fifth of the time: perhaps it is only that strangers had names
whose own servers are down, and others are not to be taken for nameless by that.
"""

import re
import socket
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Generic, TypeAlias, TypeVar
from weakref import WeakSet

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IResolver
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.names import client, dns
from twisted.names.error import AuthoritativeDomainError, DNSNameError, DomainError
from twisted.python.failure import Failure

from twistsmtp.later import Later
from twistsmtp.policy.circuits import Circuits

__all__ = ["DNS", "Address", "Joined", "NoAnswer", "parse_server", "together"]

T = TypeVar("T")

_log = Logger(namespace="twistsmtp.policy")

#: An IP address.
Address: TypeAlias = IPv4Address | IPv6Address

#: What is asked for: a name in lower case, and a type of record.
_Key = tuple[str, int]
#: Answers.
_Texts = tuple[str, ...]

#: Octets that are kept of answers, about.
ROOM = 4 * 1024 * 1024
#: Octets that an answer takes besides its text, about.
_OVERHEAD = 500
#: Records of one answer that are looked at.
_RECORDS = 64
#: Seconds that an answer is kept at the most.
_LONGEST = 3600
#: Queries at one time. Each has a socket of its own, so that its port cannot be guessed (RFC 5452 section 9.2).
_MOST = 1000
#: The part of its time that name servers get that seem to be down.
_BRIEF = 0.2
#: Where the name servers are.
_RESOLV = "/etc/resolv.conf"

#: RFC 1035 section 2.3.4: labels of 63 octets, and 253 in all without the root. No name that has others is asked for.
_NAME = re.compile(r"(?=.{1,253}\Z)[!-\-/-~]{1,63}(?:\.[!-\-/-~]{1,63})*")

_SERVER = re.compile(r"([0-9A-Fa-f:.]+)(?:#([0-9]{1,5}))?")

#: How each type of record is written.
_TEXT: dict[int, Callable[[Any], str]] = {
    dns.A: lambda record: str(record.dottedQuad()),
    dns.AAAA: lambda record: socket.inet_ntop(socket.AF_INET6, record.address),
    dns.PTR: lambda record: str(record.name.name.decode("latin-1")),
    dns.TXT: lambda record: b"".join(record.data).decode(errors="backslashreplace"),
}

#: There is no such name, or nothing of that kind: the last two are those of servers in the same process. What is a
#: `DomainError` of another kind is a server that cannot answer.
_MISSING = (DNSNameError, DomainError, AuthoritativeDomainError)


class NoAnswer(Exception):
    """The DNS cannot tell now. It may later."""


class Joined(Generic[T]):
    """One answer that any number wait for. When the last of them goes, by cancelling their Deferred, what was asked
    is cancelled.

    :param asked: the answer. It is nobody else's.
    """

    def __init__(self, asked: Deferred[T]) -> None:
        self._asked = asked
        self._waiting: dict[Deferred[T], None] = {}
        self._result: Any = None
        #: Whether the answer is there.
        self.answered = False
        asked.addBoth(self._answer)

    def wait(self) -> Deferred[T]:
        """The answer."""
        waiting: Deferred[T] = Deferred(self._leave)
        if self.answered:
            waiting.callback(self._result)  # which may be a Failure
        else:
            self._waiting[waiting] = None
        return waiting

    def cancel(self) -> None:
        """Nobody is to wait any longer."""
        self._asked.cancel()

    def _leave(self, waiting: Deferred[T]) -> None:
        del self._waiting[waiting]
        if not self._waiting:
            self._asked.cancel()

    def _answer(self, result: T | Failure) -> None:
        self.answered, self._result = True, result
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            each.callback(result)


async def together(asked: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What each of *asked* comes to, all at one time. When one fails, or this is cancelled, so are the others."""
    started = [Deferred.fromCoroutine(each) for each in asked]
    try:
        return [await each for each in started]
    except Exception:
        for each in started:
            each.cancel()
            each.addErrback(lambda _: None)
        raise


class DNS:
    """Asks the DNS. Nothing is opened before the first question.

    :param resolver: whom to ask, in place of a resolver of its own.
    :param servers: the addresses and ports of the name servers; by default those of ``/etc/resolv.conf``, which is
        looked at again every minute.
    :param reactor: by default the global one.
    :param time_limit: seconds for one answer.
    :param room: octets that answers may take, about.
    """

    def __init__(
        self,
        resolver: IResolver | None = None,
        *,
        servers: Sequence[tuple[str, int]] = (),
        reactor: Any = None,
        time_limit: float = 5.0,
        room: int = ROOM,
    ) -> None:
        self._resolver = resolver
        self._servers = tuple(servers)
        self._own: _Own | None = None
        self._reactor = reactor
        self._time_limit = time_limit
        self._cache = _Cache(room)
        self._pending: dict[_Key, Joined[_Texts]] = {}
        #: Of zones, and by ``""`` of the name servers themselves.
        self._circuits = Circuits()

    def a(self, name: str, zone: str = "") -> Later[_Texts]:
        """The IPv4 addresses of *name*; *zone* is as for `ask`.

        :raises NoAnswer: nobody can tell.
        """
        return self.ask(name, dns.A, zone)

    def aaaa(self, name: str) -> Later[_Texts]:
        """The IPv6 addresses of *name*.

        :raises NoAnswer: nobody can tell.
        """
        return self.ask(name, dns.AAAA)

    def txt(self, name: str) -> Later[_Texts]:
        """The texts of *name*, the strings of each put together. What is not UTF-8 is escaped.

        :raises NoAnswer: nobody can tell.
        """
        return self.ask(name, dns.TXT)

    def ptr(self, address: Address) -> Later[_Texts]:
        """The names of *address*, as whoever has the address says. They may be anything, line ends included.

        :raises NoAnswer: nobody can tell.
        """
        return self.ask(address.reverse_pointer, dns.PTR)

    def ask(self, name: str, kind: int, zone: str = "") -> Later[_Texts]:
        """The records of *kind* that *name* has.

        :param name: of A-labels, without a dot at its end.
        :param kind: `twisted.names.dns.A`, `AAAA`, `PTR` or `TXT`.
        :param zone: whose servers it is that answer, if no stranger has a say in that. It is one of few.
        :raises NoAnswer: nobody can tell.
        """
        key = name.lower(), kind
        if not _NAME.fullmatch(name):
            return ()
        now = self._clock.seconds()
        known = self._cache.get(key, now)
        if known is not None:
            return known
        joined = self._pending.get(key)
        if joined is None:
            if len(self._pending) >= _MOST:
                raise NoAnswer(f"{name}: too many questions at one time")
            time_limit = self._time_limit
            if not self._circuits.lets_through(zone, now):
                if zone:
                    raise NoAnswer(f"{name}: {zone} has not answered lately")
                time_limit *= _BRIEF
            joined = Joined(self._query(key, zone, time_limit))
            if not joined.answered:
                self._pending[key] = joined
        return joined.wait()

    def reload(self) -> None:
        """Forget what is known."""
        self._cache.clear()
        self._circuits.clear()

    async def stop(self) -> None:
        """Take all questions back, and close what is open. It may be asked again."""
        for joined in tuple(self._pending.values()):
            joined.cancel()
        own, self._own = self._own, None
        if own is not None:
            await own.stop()

    @property
    def _clock(self) -> Any:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return self._reactor

    def _query(self, key: _Key, zone: str, time_limit: float) -> Deferred[_Texts]:
        answer: Deferred[Any] = maybeDeferred(self._send, key, time_limit)
        answer.addTimeout(time_limit, self._clock).addBoth(self._end, key, zone)
        return answer.addCallbacks(partial(self._found, key), partial(self._failed, key))

    def _send(self, key: _Key, time_limit: float) -> Any:
        name, kind = key
        resolver: Any = self._resolver
        if resolver is None:
            if self._own is None:
                self._own = _Own(self._servers, self._clock)
            resolver = self._own.resolver
        times = [time_limit * part for part in (0.2, 0.3, 0.5)]
        return resolver.query(dns.Query(name.encode("ascii"), kind, dns.IN), times)

    def _end(self, answer: Any, key: _Key, zone: str) -> Any:
        """Note whether somebody has answered. To say that one cannot tell is an answer of name servers, and none of the
        zone's; and where nobody waits any more, who knows."""
        self._pending.pop(key, None)
        error = answer.value if isinstance(answer, Failure) else None
        if error is None or type(error) in _MISSING or not (zone or isinstance(error, (TimeoutError, CancelledError))):
            self._circuits.answered(zone)
        elif not isinstance(error, CancelledError) and self._circuits.failed(zone, self._clock.seconds()) and not zone:
            _log.warn("name servers have not answered several times in a row, and get less time for a while")
        return answer

    def _found(self, key: _Key, sections: tuple[Sequence[Any], Sequence[Any], Sequence[Any]]) -> _Texts:
        answers, authority, _ = sections
        _, kind = key
        write = _TEXT[kind]
        # Of a name that is another's alias there is that as well, and both are asked for in one.
        texts = tuple(write(each.payload) for each in answers if each.type == kind)[:_RECORDS]
        return self._keep(key, texts, min(each.ttl for each in answers) if texts else _seconds_of_nothing(authority))

    def _failed(self, key: _Key, failure: Failure) -> _Texts:
        error: Any = failure.value
        if type(error) in _MISSING:
            message = error.args[0] if error.args else None
            return self._keep(key, (), _seconds_of_nothing(getattr(message, "authority", ())))
        if isinstance(error, CancelledError):
            raise error
        raise NoAnswer(f"{key[0]}: {type(error).__name__}") from error

    def _keep(self, key: _Key, texts: _Texts, seconds: float) -> _Texts:
        if seconds > 0:
            self._cache.keep(key, texts, self._clock.seconds() + min(seconds, _LONGEST))
        return texts


def _seconds_of_nothing(authority: Iterable[Any]) -> float:
    """How long it is to be believed that there is nothing (RFC 2308 section 5): without a SOA, not at all."""
    return min((min(each.ttl, each.payload.minimum) for each in authority if each.type == dns.SOA), default=0)


class _Cache:
    """Answers, each until its time has come, and no more than there is room for."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._kept: OrderedDict[_Key, tuple[_Texts, float]] = OrderedDict()

    def get(self, key: _Key, now: float) -> _Texts | None:
        found = self._kept.get(key)
        if found is None:
            return None
        if now >= found[1]:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: _Key, texts: _Texts, until: float) -> None:
        self._drop(key)
        self._kept[key] = texts, until
        self._used += _size(key, texts)
        while self._used > self._room:
            self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        self._kept.clear()
        self._used = 0

    def _drop(self, key: _Key) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._used -= _size(key, found[0])


def _size(key: _Key, texts: _Texts) -> int:
    return _OVERHEAD + len(key[0]) + sum(_OVERHEAD + len(text) for text in texts)


class _Own:
    """A resolver of ours, and all that it has open."""

    def __init__(self, servers: Sequence[tuple[str, int]], reactor: Any) -> None:
        self._reactor = reactor
        self._watched = _Watched(reactor)
        self.resolver = client.Resolver(None if servers else _RESOLV, list(servers), reactor=self._watched)

    async def stop(self) -> None:
        self._watched.end()
        await deferLater(self._reactor, 0, lambda: None)  # sockets are closed in the reactor's next turn


class _Watched:
    """A reactor, as a resolver sees it. The resolver itself keeps no record of its timers and connections, and a query
    that is cancelled leaves its timer."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._calls: WeakSet[Any] = WeakSet()
        self._connectors: WeakSet[Any] = WeakSet()

    def callLater(self, delay: float, function: Callable[..., object], *arguments: object) -> Any:
        call = self._reactor.callLater(delay, function, *arguments)
        self._calls.add(call)
        return call

    def listenUDP(self, port: int, protocol: Any, *arguments: Any, **options: Any) -> Any:
        protocol.noisy = False  # there is one for each query
        return self._reactor.listenUDP(port, protocol, *arguments, **options)

    def connectTCP(self, *arguments: Any, **options: Any) -> Any:
        connector = self._reactor.connectTCP(*arguments, **options)
        self._connectors.add(connector)
        return connector

    def end(self) -> None:
        for call in tuple(self._calls):
            if call.active():
                call.cancel()
        for connector in tuple(self._connectors):
            connector.disconnect()


def parse_server(text: str) -> tuple[str, int]:
    """The address and port of a name server: ``127.0.0.1``, or ``127.0.0.1#5353``.

    :raises ValueError: it is neither.
    """
    match = _SERVER.fullmatch(text)
    try:
        if match is None or int(match[2] or 1) not in range(1, 65536):
            raise ValueError
        return str(ip_address(match[1])), int(match[2] or dns.PORT)
    except ValueError:
        raise ValueError(f"a name server is an address, or an address#port, not {text!r}") from None
