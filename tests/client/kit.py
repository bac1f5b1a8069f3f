"""A far side in memory, which does as it is told, and connections to it and to our own server.

Nothing here waits: time is a `Clock`, and octets go from one side to the other when it turns.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from twistsmtp.client import Connector, Destination, Pool
from twistsmtp.client.connection import Connection
from twistsmtp.factory import SMTPFactory

__all__ = ["ALL", "GONE", "Far", "Net", "Pipe", "at_once", "extensions", "result_of", "turn"]

T = TypeVar("T")

#: Extensions that a client can use.
ALL = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME", "ENHANCEDSTATUSCODES")


def extensions(*without: str) -> tuple[str, ...]:
    """All but those *without*."""
    return tuple(each for each in ALL if each.split()[0] not in without)


#: The far side ends the connection in place of a reply.
GONE = "gone"
#: Octets that may be on their way before whoever writes is told to wait.
ROOM = 65536


class Pipe:
    """One end of a connection in memory."""

    def __init__(self, clock: Clock, port: int) -> None:
        self._clock = clock
        self._port = port
        self.protocol: Any = None
        self.other: Pipe = self
        self.producer: Any = None
        self.lost = False
        self.disconnecting = False
        self.reading = True
        #: Whether more was written than there is room for.
        self.full = False
        #: All that was written, and what is on its way.
        self.written: list[bytes] = []
        self._on_its_way: list[bytes] = []
        #: Octets that arrive together at the most.
        self.piece = 1 << 30

    def write(self, data: bytes) -> None:
        if not (self.lost or self.disconnecting):
            self.written.append(data)
            self._on_its_way.append(data)
            self._clock.callLater(0, self._carry)
            if self.producer is not None and sum(map(len, self._on_its_way)) > ROOM and not self.full:
                self.full = True
                self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def _carry(self) -> None:
        octets, self._on_its_way = b"".join(self._on_its_way), []
        if not octets:
            return
        if self.other.lost:
            return
        if not self.other.reading:
            self._on_its_way = [octets]
            return
        now, later = octets[: self.piece], octets[self.piece :]
        if later:
            self._on_its_way = [later]
            self._clock.callLater(0, self._carry)
        self.other.protocol.dataReceived(now)
        if self.full and not self._on_its_way:
            self.full = False
            if self.producer is not None:
                self.producer.resumeProducing()

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self._clock.callLater(0, self._leave, ConnectionDone())

    def _leave(self, reason: Exception) -> None:
        if self._on_its_way and self.other.reading and not self.other.lost:
            self._carry()
            self._clock.callLater(0, self._leave, reason)
            return
        self.break_off(reason)

    def abortConnection(self) -> None:
        self.disconnecting = True
        self._on_its_way = []
        self._clock.callLater(0, self.break_off, ConnectionAborted())

    def break_off(self, reason: Exception | None = None) -> None:
        """The connection is lost, for both."""
        for end in (self, self.other):
            if not end.lost:
                end.lost = True
                end.protocol.connectionLost(Failure(reason or ConnectionLost()))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True
        self._clock.callLater(0, self.other._carry)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", self._port)

    getHost = getPeer


class Far(Protocol):
    """A server that takes all, unless its replies say otherwise.

    :param offers: the lines of the reply to EHLO.
    :param replies: by step (``greeting``, a verb, ``body``, ``end``, ``RCPT 2``, for the second): the reply; or `GONE`,
        for no reply and the end; or ``""`` for silence.
    """

    def __init__(self, offers: Iterable[str] = (), replies: Mapping[str, str] | None = None, *, lmtp: bool = False):
        self.offers = tuple(offers)
        self.replies = dict(replies or {})
        self.lmtp = lmtp
        #: The commands that came, and the messages that were taken: sender, recipients, octets.
        self.heard: list[str] = []
        self.taken: list[tuple[str, list[str], bytes]] = []
        self.ended = False
        self._counts: dict[str, int] = {}
        self._buffer = b""
        self._data: bytes | None = None
        self._chunk: tuple[int, bool] | None = None
        self._chunks: list[bytes] = []
        self._refused = self._interrupted = False
        self._sender, self._recipients = "", list[str]()

    transport: Any

    def connectionMade(self) -> None:
        self._say("greeting", "220 far.test ESMTP")

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.ended = True

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while not self.transport.disconnecting and self._step():
            pass

    def _say(self, step: str, default: str) -> str:
        """Say the reply to *step*."""
        count = self._counts[step] = self._counts.get(step, 0) + 1
        reply = self.replies.get(f"{step} {count}", self.replies.get(step, default))
        if reply == GONE:
            self.transport.loseConnection()
        elif reply:
            self.transport.write(reply.encode() + b"\r\n")
        return reply

    def _step(self) -> bool:
        if self._chunk is not None:
            return self._take_chunk()
        if self._data is not None:
            return self._take_data()
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return False
        self._buffer = rest
        text = line.decode()
        self.heard.append(text)
        self._obey(text.split()[0].upper() if text.split() else "", text)
        return True

    def _obey(self, verb: str, text: str) -> None:
        match verb:
            case "EHLO" | "LHLO":
                self._say(
                    verb,
                    "\r\n".join(f"250-{each}" for each in ("far.test", *self.offers[:-1]))
                    + f"\r\n250 {self.offers[-1]}"
                    if self.offers
                    else "250 far.test",
                )
            case "MAIL":
                if self._say(verb, "250 2.1.0 OK").startswith("2"):
                    self._sender, self._recipients = text, []
            case "RCPT":
                if self._say(verb, "250 2.1.5 OK" if self._sender else "503 5.5.1 MAIL first").startswith("2"):
                    self._recipients.append(text)
            case "DATA":
                default = "354 Go on" if self._recipients else "554 5.5.1 No valid recipients"
                if self._say(verb, default).startswith("354"):
                    self._data = b"\r\n"
            case "BDAT":
                size = int(text.split()[1])
                self._chunk = (size, text.upper().endswith("LAST"))
            case "RSET":
                self._sender, self._chunks, self._recipients, self._refused = "", [], [], False
                self._say(verb, "250 2.0.0 OK")
            case "QUIT":
                self._say(verb, "221 2.0.0 Bye")
                self.transport.loseConnection()
            case _:
                self._say(verb, "250 2.0.0 OK")

    def _take_data(self) -> bool:
        assert self._data is not None
        self._data, self._buffer = self._data + self._buffer, b""
        if len(self._data) > 10:
            self._interrupt()
        end = self._data.find(b"\r\n.\r\n")
        if end < 0 or self.transport.disconnecting:
            return False
        octets, self._buffer = self._data[2 : end + 2], self._data[end + 5 :]
        self._data = None
        if not self._has_interrupted():
            self._message(octets.replace(b"\r\n.", b"\r\n").removeprefix(b"."))
        return True

    def _interrupt(self) -> None:
        """Say in the middle of a message what becomes of it, and take the rest without a word."""
        if self.replies.get("body") and not self._interrupted:
            self._interrupted = True
            for _ in self._recipients if self.lmtp and self._data is not None else [0]:
                self._say("body", "")

    def _has_interrupted(self) -> bool:
        if self._interrupted:
            self._sender, self._recipients = "", []
        interrupted, self._interrupted = self._interrupted, False
        return interrupted

    def _take_chunk(self) -> bool:
        assert self._chunk is not None
        size, last = self._chunk
        if self._buffer:
            self._interrupt()
        if len(self._buffer) < size or self.transport.disconnecting:
            return False
        self._chunks.append(self._buffer[:size])
        self._buffer, self._chunk = self._buffer[size:], None
        if self._interrupted:
            self._interrupted, self._refused = False, True
        elif last:
            octets, self._chunks = b"".join(self._chunks), []
            if self._refused:
                self._say("end", "503 5.5.1 A chunk was refused")
            else:
                self._message(octets)
        elif not self._say("BDAT", "250 2.0.0 OK").startswith("250"):
            self._refused = True
        return True

    def _message(self, octets: bytes) -> None:
        taken = [self._say("end", "250 2.0.0 Queued") for _ in (self._recipients if self.lmtp else [0])]
        if any(each.startswith("2") for each in taken):
            self.taken.append((self._sender, self._recipients, octets))
        self._sender, self._recipients = "", []


@implementer(IStreamClientEndpoint)
class Net:
    """Connects clients to far sides, and is their reactor's other half.

    :param far: makes the server's protocol of each connection; what it raises, connecting fails with.
    """

    factory: SMTPFactory

    def __init__(self, far: Callable[[], Any]) -> None:
        self.clock = Clock()
        self._far = far
        #: The far sides, and the clients' ends.
        self.fars: list[Any] = []
        self.ends: list[Pipe] = []
        #: Octets that arrive together at the most.
        self.piece = 1 << 30
        self.connector = Connector(self.clock, endpoint=lambda destination: self, in_thread=at_once)

    @classmethod
    def scripted(cls, *offers: str, **replies: str) -> "Net":
        """To far sides that offer and say this, one like the other."""
        named = {name.replace("_", " "): reply for name, reply in replies.items()}
        return cls(lambda: Far(offers, named))

    @classmethod
    def serving(cls, delivery: Any, kind: type[SMTPFactory] = SMTPFactory, **settings: Any) -> "Net":
        """To our own server."""
        net = cls(lambda: net.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 50000 + len(net.ends))))
        net.factory = kind(delivery, **{"hostname": "mx.test", "reactor": net.clock, **settings})
        return net

    @property
    def far(self) -> Any:
        """The last."""
        return self.fars[-1]

    def pool(self, **settings: Any) -> Pool:
        return Pool(self.connector, **settings)

    def connect(self, factory: Any) -> Deferred[Any]:
        """Twisted's word that somebody wants to connect."""
        try:
            far = self._far()
        except Exception as error:
            return fail(error)
        near, its = Pipe(self.clock, 25), Pipe(self.clock, 50000 + len(self.ends))
        near.other, its.other = its, near
        near.piece = its.piece = self.piece
        self.fars.append(far)
        self.ends.append(near)
        client = factory.buildProtocol(None)
        near.protocol, its.protocol = client, far
        far.makeConnection(its)
        client.makeConnection(near)
        return succeed(client)

    def turn(self) -> None:
        """Carry all that is on its way."""
        turn(self.clock)

    def run(self, work: Coroutine[Any, Any, T]) -> "Deferred[T]":
        """Have *work* done as far as it goes."""
        done = Deferred.fromCoroutine(work)
        self.turn()
        return done

    def open(self, **settings: Any) -> Connection:
        """A connection that mail can be sent on."""
        return result_of(self.run(self.connector.connect(self.destination(**settings))))

    @staticmethod
    def destination(**settings: Any) -> Destination:
        return Destination(**{"host": "far.test", "hostname": "client.test", **settings})


def turn(clock: Clock) -> None:
    """What is due by now, and what that makes due."""
    while any(call.getTime() <= clock.seconds() for call in clock.getDelayedCalls()):
        clock.advance(0)


def at_once(function: Callable[..., T], *args: Any) -> "Deferred[T]":
    """In place of a thread."""
    return maybeDeferred(function, *args)


def result_of(deferred: "Deferred[T]") -> T:
    """The result that *deferred* has by now.

    :raises Exception: what it failed with.
    """
    results: list[Any] = []
    deferred.addBoth(results.append)
    if not results:
        raise AssertionError("no result yet")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return cast(T, results[0])


def refused(*_: object) -> None:
    """Nobody listens."""
    raise ConnectionRefusedError
