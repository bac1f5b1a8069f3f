"""A delivery that does as it is told, and a server in memory that has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from twistsmtp.delivery.api import Delivery, DeliveryTransaction, Envelope, Recipient, Refusal, Reply, Session
from twistsmtp.factory import LMTPFactory, SMTPFactory

__all__ = ["LATER", "NEVER", "Conversation", "Told"]

#: A refusal to come again after, and one for good.
LATER, NEVER = Reply(451, "4.3.0", "Later"), Reply(550, "5.7.1", "Never")

#: What a delivery does in a phase: gives something back, or raises it.
Deed = Callable[..., Any]


def deed(what: object) -> Deed:
    if callable(what):
        return what

    def do(*args: object) -> Any:
        if isinstance(what, Reply) and not what.positive:
            raise Refusal(what)
        if isinstance(what, Exception):
            raise what
        return what

    return do


class Told(Delivery):
    """Does what it is told in each phase, and notes what was done.

    :param deeds: by the name of the phase: what it answers or raises, or a function that is called.
    """

    def __init__(self, name: str, journal: list[str], **deeds: object) -> None:
        self.name = name
        self.journal = journal
        self.deeds = {phase: deed(what) for phase, what in deeds.items()}
        #: Messages that it has: the recipients, and the octets.
        self.messages: list[tuple[list[str], bytes]] = []
        #: Transactions that have neither been committed nor aborted.
        self.open = 0

    def begin(self, session: Session, reverse_path: Any) -> Any:
        self.note("begin")
        done = self.do("begin", reverse_path)
        if done is not None:
            return done.addCallback(lambda _: _Told(self))
        return _Told(self)

    def note(self, what: str) -> None:
        self.journal.append(f"{self.name} {what}")

    def do(self, phase: str, *args: object) -> Any:
        return self.deeds[phase](*args) if phase in self.deeds else None


class _Told(DeliveryTransaction):
    def __init__(self, told: Told) -> None:
        self.told = told
        self.taken: list[str] = []
        self.pieces: list[bytes] = []
        self.ended = False
        told.open += 1

    def rcpt(self, recipient: Recipient) -> Any:
        self.check()
        answer = self.told.do("rcpt", str(recipient))
        self.taken.append(str(recipient))
        return answer

    def open(self, envelope: Envelope) -> Any:
        self.check()
        self.envelope = envelope
        if sorted(self.taken) != sorted(map(str, envelope.recipients)):
            raise AssertionError(f"{self.taken} were taken, and {envelope.recipients} are there")
        return self.told.do("open", envelope)

    def write(self, octets: bytes) -> Any:
        self.check()
        self.pieces.append(octets)
        return self.told.do("write", octets)

    def commit(self) -> Any:
        self.check()
        self.told.note("commit")
        answer = self.told.do("commit", self.envelope)
        if hasattr(answer, "addCallback"):
            return answer.addCallback(self.committed)
        return self.committed(answer)

    def committed(self, answer: Any) -> Any:
        self.end()
        self.told.messages.append((list(map(str, self.envelope.recipients)), b"".join(self.pieces)))
        return answer

    def abort(self) -> None:
        self.told.note("abort")
        self.end()
        self.told.do("abort")

    def check(self) -> None:
        if self.ended:
            raise AssertionError(f"{self.told.name} has ended")

    def end(self) -> None:
        self.check()
        self.ended = True
        self.told.open -= 1


class Conversation:
    """A client that is connected to a server in memory."""

    def __init__(self, delivery: Delivery, *, lmtp: bool = False) -> None:
        kind = LMTPFactory if lmtp else SMTPFactory
        self.clock = Clock()
        self.factory = kind(delivery, hostname="mx.example", reactor=self.clock)
        self.transport = StringTransport()
        self.protocol: Any = cast(Any, self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 25)))
        self.protocol.makeConnection(self.transport)
        self.say("LHLO client" if lmtp else "EHLO client")

    def say(self, *lines: str) -> list[str]:
        """The codes of what the server says to *lines*."""
        for line in lines:
            self.protocol.dataReceived(f"{line}\r\n".encode())
        return self.hear()

    def hear(self) -> list[str]:
        """The codes of the replies since."""
        text = self.transport.value().decode()
        self.transport.clear()
        return [line[:3] for line in text.split("\r\n")[:-1] if line[3:4] == " "]

    def send(self, *recipients: str, body: Sequence[str] = ("Subject: x", "", "hello")) -> list[str]:
        """The codes behind RCPT, DATA and the message."""
        codes = self.say("MAIL FROM:<ann@one.example>", *(f"RCPT TO:<{each}>" for each in recipients), "DATA")
        return codes[1:] + (self.say(*body, ".") if codes[-1] == "354" else [])

    def leave(self) -> None:
        """Go away."""
        self.protocol.connectionLost()
