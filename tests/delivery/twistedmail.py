"""Deliveries as ``twisted.mail`` has them, which write down what is asked of them; and those who ask."""

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory, IMessageSMTP
from twisted.mail.smtp import Address, User
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twistsmtp.delivery.api import DeliveryTransaction, Envelope, Recipient, Refusal, ReversePath, Session
from twistsmtp.delivery.twistedmail_adapter import TwistedMailDelivery
from twistsmtp.later import drive, is_later
from twistsmtp.limits import Limits
from twistsmtp.phases import Checks
from twistsmtp.security import Security
from twistsmtp.verb import Registry
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.reply import Catalogue

__all__ = [
    "ANN",
    "CLIENT",
    "JOE",
    "SUE",
    "WAYS",
    "AdapterTestCase",
    "Broken",
    "RecordingDelivery",
    "RecordingFactory",
    "RecordingMessage",
    "answer",
    "raise_",
]

#: Where the client of every test is.
CLIENT = "192.0.2.7"
ANN = ReversePath(mailbox=Mailbox("ann", "one.example"))
JOE = Recipient(mailbox=Mailbox("joe", "two.example"))
SUE = Recipient(mailbox=Mailbox("sue", "two.example"))


async def _coroutine(value: object) -> object:
    return value


#: The ways in which a delivery may give its answer.
WAYS: tuple[Callable[[Any], Any], ...] = (lambda value: value, succeed, _coroutine)


def _seen(address: Address) -> tuple[object, ...]:
    return (type(address), address.local, address.domain)


def answer(value: Any) -> Any:
    """What *value* is, or a Deferred if it is not there yet."""
    return drive(value) if is_later(value) else value


class Broken(Exception):
    """What no delivery means to do."""


def raise_(error: Exception) -> Any:
    """Where only an expression can stand."""
    raise error


@implementer(IMessageSMTP)
class RecordingMessage:
    """Keeps its calls in the order in which all messages of its delivery are called."""

    def __init__(self, calls: list[Any], name: bytes, end: Callable[[], Any]) -> None:
        self.calls = calls
        self.name = name
        self.end = end

    def lineReceived(self, line: bytes) -> None:
        self.calls.append((self.name, "line", line))

    def eomReceived(self) -> Any:
        self.calls.append((self.name, "eom"))
        return self.end()

    def connectionLost(self) -> None:
        self.calls.append((self.name, "lost"))


@implementer(IMessageDelivery)
class RecordingDelivery:
    """Takes everything, unless a test replaces one of its parts."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        #: How an answer is given; one of `WAYS`.
        self.give: Callable[[Any], Any] = WAYS[0]
        self.sender: Callable[[Address], Any] = lambda origin: origin
        self.recipient: Callable[[User], Any] = lambda user: None
        self.message: Callable[..., Any] = RecordingMessage
        self.received: Any = b"Received: from client\n\tby server"
        #: What ``eomReceived()`` of a recipient's message returns, by its local part.
        self.ends: dict[bytes, Callable[[], Any]] = {}
        self.users: list[User] = []

    def validateFrom(self, helo: Any, origin: Address) -> Any:
        self.calls.append(("from", helo, _seen(origin)))
        return self.give(self.sender(origin))

    def validateTo(self, user: User) -> Any:
        self.users.append(user)
        self.calls.append(("to", type(user), user.helo, _seen(user.dest), _seen(user.orig)))
        self.recipient(user)
        name = user.dest.local
        end = self.ends.get(name, lambda: succeed(None))
        return self.give(lambda: self.message(self.calls, name, end))

    def receivedHeader(self, helo: Any, origin: Any, recipients: list[User]) -> Any:
        self.calls.append(("received", helo, str(origin), [_seen(user.dest) for user in recipients]))
        return self.received

    def lines(self, name: bytes = b"joe") -> list[bytes]:
        """The lines that the message of one recipient was given."""
        return [call[2] for call in self.calls if call[:2] == (name, "line")]

    def said(self, *words: str) -> list[Any]:
        """The calls whose word is one of *words*, all recipients' mixed."""
        return [call for call in self.calls if call[1] in words]


@implementer(IMessageDeliveryFactory)
class RecordingFactory:
    """Gives its delivery, and counts how often."""

    def __init__(self, delivery: RecordingDelivery | None) -> None:
        self.delivery = delivery
        self.asked = 0

    def getMessageDelivery(self) -> RecordingDelivery | None:
        self.asked += 1
        return self.delivery


class AdapterTestCase(SynchronousTestCase):
    """Does what the server does with a delivery."""

    def setUp(self) -> None:
        self.delivery = RecordingDelivery()
        self.session = self.new_session()

    def new_session(self, **limits: Any) -> Session:
        session = Session(
            id="s",
            peer=IPv4Address("TCP", CLIENT, 25025),
            hostname="mx.example",
            delivery=TwistedMailDelivery(self.delivery),
            dialect=Registry(()),
            limits=Limits(**limits),
            replies=Catalogue(),
            checks=Checks(),
            security=Security(),
            clock=Clock(),
        )
        session.hello("client.example", esmtp=True)
        return session

    def begin(self, *recipients: Recipient, reverse_path: ReversePath = ANN) -> DeliveryTransaction:
        """A transaction that has its recipients."""
        transaction: DeliveryTransaction = answer(self.session.delivery.begin(self.session, reverse_path))
        for recipient in recipients:
            self.assertIsNone(answer(transaction.rcpt(recipient)))
        return transaction

    def opened(self, *recipients: Recipient) -> DeliveryTransaction:
        """A transaction whose octets are about to come."""
        recipients = recipients or (JOE,)
        transaction = self.begin(*recipients)
        transaction.open(Envelope("s.1", ANN, recipients))
        return transaction

    def refusal(self, function: Any, *arguments: Any) -> str:
        """The reply that the call refuses with."""
        return str(self.assertRaises(Refusal, lambda: answer(function(*arguments))).reply)
