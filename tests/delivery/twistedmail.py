"""Deliveries as ``twisted.mail`` has them, which write down what is asked of them."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import succeed
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory, IMessageSMTP
from twisted.mail.smtp import Address, User
from zope.interface import implementer

__all__ = ["CLIENT", "WAYS", "RecordingDelivery", "RecordingFactory", "RecordingMessage"]

#: Where the client of every test is.
CLIENT = "192.0.2.7"


async def _coroutine(value: object) -> object:
    return value


#: The ways in which a delivery may give its answer.
WAYS: tuple[Callable[[Any], Any], ...] = (lambda value: value, succeed, _coroutine)


def _seen(address: Address) -> tuple[object, ...]:
    return (type(address), address.local, address.domain)


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
