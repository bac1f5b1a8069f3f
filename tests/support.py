"""A server in memory, and its client's side.

Nothing here waits: time is a `Clock`, and octets go straight from one side to the other.
"""

import gc
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, pairwise
from types import FunctionType, ModuleType
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, capturedLogs
from twisted.python.failure import Failure

from tests.scripted import Script, ScriptedDelivery, ScriptedPolicy
from twistsmtp.factory import SMTPFactory
from twistsmtp.protocol import SMTPProtocol
from twistsmtp.session import Session
from twistsmtp.verb import Registry
from twistsmtp.wire.reply import Catalogue

__all__ = ["CONVERSATION", "Client", "Server", "Wire", "cuts", "kept_octets", "logged", "split_replies"]


# --- the two sides -------------------------------------------------------------------------------------------


#: A whole conversation, with a message that is accepted, one that is refused, and one that is given up.
CONVERSATION = (
    b"EHLO client.test\r\n"
    b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\n"
    b"MAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\na\nb\r\n.\r\n"
    b"MAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\nRSET\r\nQUIT\r\n"
)


class Wire(StringTransport):
    """The server's transport: keeps each write apart, and loses the connection one turn after it was told to."""

    protocol: SMTPProtocol
    producer: Any = None

    def __init__(self, clock: Clock, peer: IAddress) -> None:
        super().__init__(peerAddress=peer, lenient=True)
        self._clock = clock
        self.writes: list[bytes] = []
        self.lost = False

    def write(self, data: bytes) -> None:
        if not self.lost:
            self.writes.append(data)

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self._clock.callLater(0, self.lose, ConnectionDone())

    def abortConnection(self) -> None:
        self.disconnecting = True
        self._clock.callLater(0, self.lose, ConnectionAborted())

    def lose(self, reason: Exception) -> None:
        """The connection is lost."""
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(reason))


class Client:
    """The client's side of one connection."""

    def __init__(self, server: "Server", peer: IAddress) -> None:
        self.server = server
        self.wire = Wire(server.clock, peer)
        self.protocol = cast(SMTPProtocol, server.factory.buildProtocol(peer))
        self.wire.protocol = self.protocol
        self._outbox = b""
        self._read = 0
        self.protocol.makeConnection(self.wire)

    @property
    def session(self) -> Session:
        return self.protocol.session

    @property
    def closed(self) -> bool:
        """Whether the server ended the connection, or lost it."""
        self._turn()
        return self.wire.lost

    def send(self, octets: bytes) -> bytes:
        """Send *octets* in one piece, or when the server reads again; and read."""
        self._outbox += octets
        return self.read()

    def read(self) -> bytes:
        """All that the server has said since the last time."""
        self._turn()
        read, self._read = self._read, len(self.wire.writes)
        return b"".join(self.wire.writes[read:])

    def say(self, *lines: str | bytes) -> list[str]:
        """Send command *lines* in one piece.

        :returns: the replies that are there by now, each without its last CRLF.
        """
        return split_replies(self.send(b"".join([_octets(line) + b"\r\n" for line in lines])))

    def codes(self, *lines: str | bytes) -> list[str]:
        """As `say`, but each reply is only its code with the enhanced one: ``"250 2.1.0"``."""
        return [_codes(reply) for reply in self.say(*lines)]

    def hello(self) -> "Client":
        """Read the greeting, and say EHLO."""
        self.read()
        self.say("EHLO client.test")
        return self

    def begin(self, *recipients: str, sender: str = "a@client.test") -> "Client":
        """Open a transaction, by default to one recipient."""
        self.say(f"MAIL FROM:<{sender}>", *[f"RCPT TO:<{each}>" for each in recipients or ("b@mx.test",)])
        return self

    def data(self) -> "Client":
        """Greet, open a transaction and say DATA."""
        self.hello().begin().say("DATA")
        return self

    def message(self, body: bytes = b"Subject: one\r\n\r\ntext\r\n") -> list[str]:
        """Send one message to one recipient.

        :param body: as it is on the wire, but for the dot at its end.
        :returns: the replies to the end of the message.
        """
        self.begin().say("DATA")
        return split_replies(self.send(body + b".\r\n"))

    def finish_sending(self) -> None:
        """Close the client's side only."""
        self._turn()
        if not self.wire.lost:
            self.protocol.readConnectionLost()
        self._turn()

    def vanish(self, reason: Exception | None = None) -> None:
        """Lose the connection, by default without a word."""
        self.wire.lose(reason or ConnectionLost())

    def _turn(self) -> None:
        self.server.clock.advance(0)
        while self._outbox and self.wire.producerState == "producing" and not self.wire.lost:
            octets, self._outbox = self._outbox, b""
            self.protocol.dataReceived(octets)
            self.server.clock.advance(0)


class Server:
    """A server whose clients are in the same process, and whose time stands still unless its `clock` is advanced.

    :param settings: of the `SMTPFactory`.
    """

    def __init__(self, delivery: Any = None, **settings: Any) -> None:
        self.clock = Clock()
        self.delivery = ScriptedDelivery() if delivery is None else delivery
        self.factory = SMTPFactory(self.delivery, **{"hostname": "mx.test", "reactor": self.clock, **settings})
        self._ports = count(50000)

    @classmethod
    def scripted(cls, script: Script, **settings: Any) -> "Server":
        """A server whose delivery and whose only policy answer as *script* has it."""
        return cls(ScriptedDelivery(script), policies=[ScriptedPolicy(script)], **settings)

    def connect(self, peer: IAddress | str = "192.0.2.1") -> Client:
        """A new connection, from an IPv4 address or any other."""
        return Client(self, IPv4Address("TCP", peer, next(self._ports)) if isinstance(peer, str) else peer)


# --- looking at things ---------------------------------------------------------------------------------------

_REPLY = re.compile(rb"(?:(\d{3})-[ -~]*\r\n(?=\1))*[2-5][0-5]\d [ -~]*\r\n")


def split_replies(octets: bytes) -> list[str]:
    """*octets* as whole replies, each without its last CRLF.

    :raises AssertionError: that is not what they are (RFC 5321 section 4.2).
    """
    replies = []
    position = 0
    while position < len(octets):
        match = _REPLY.match(octets, position)
        if match is None or max(map(len, match[0].splitlines(keepends=True))) > 512:
            raise AssertionError(f"not a reply: {octets[position:][:600]!r}")
        replies.append(match[0].decode()[:-2])
        position = match.end()
    return replies


def _codes(reply: str) -> str:
    match = re.match(r"(\d{3})[ -]([245]\.\d{1,3}\.\d{1,3} )?", reply)
    assert match, reply
    return f"{match[1]} {match[2] or ''}".rstrip()


def _octets(line: str | bytes) -> bytes:
    return line if isinstance(line, bytes) else line.encode()


def cuts(octets: bytes, positions: Sequence[int]) -> list[bytes]:
    """*octets* cut at *positions*, whatever their order; no piece is empty."""
    edges = sorted({0, len(octets), *(position % (len(octets) + 1) for position in positions)})
    return [octets[start:end] for start, end in pairwise(edges)]


@contextmanager
def logged(namespace: str) -> Iterator[list[LogEvent]]:
    """The events of *namespace* that are logged meanwhile; the list is filled at the end."""
    events: list[LogEvent] = []
    with capturedLogs() as captured:
        yield events
    events.extend(event for event in captured if event.get("log_namespace") == namespace)


def kept_octets(root: object, *but: type) -> int:
    """How many octets of bytes and text *root* holds, in whatever depth.

    :param but: what is not looked into, besides what connections share.
    """
    shared = (type, FunctionType, ModuleType, Clock, StringTransport, SMTPFactory, Catalogue, Registry, *but)
    seen = {id(getattr(root, "_lines", None))}  # which are remembered for all of them
    todo = [root]
    total = 0
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, shared):
            continue
        seen.add(id(each))
        if isinstance(each, (bytes, bytearray, str)):
            total += len(each)
        else:
            todo.extend(gc.get_referents(each))
    return total
