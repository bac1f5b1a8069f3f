"""Mail kept in memory: for tests, and for applications that look at each message themselves.

With ``SMTPFactory(memory)`` listening somewhere, this waits for the first message::

    [message] = await memory.wait()
    print(message.envelope.reverse_path, message.email["Subject"])
"""

import email
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

from twistsmtp.delivery.api import Delivery, DeliveryTransaction, Envelope, ReversePath, Session

__all__ = ["Keeping", "Memory", "Message"]

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was accepted."""

    envelope: Envelope
    #: All of it, the Received field of the server in front.
    octets: bytes = field(repr=False)

    @property
    def email(self) -> EmailMessage:
        """The message parsed, anew each time. It is what a client sent: it may have defects, or no sense."""
        return email.message_from_bytes(self.octets, policy=default)


class Keeping(Delivery, Generic[M]):
    """A delivery that keeps messages, for whoever looks at them or waits for them."""

    def __init__(self) -> None:
        #: The messages, oldest first. They are yours: take out what you are done with.
        self.messages: list[M] = []
        self._waiting: list[tuple[int, Deferred[list[M]]]] = []

    def wait(self, count: int = 1) -> Deferred[list[M]]:
        """A Deferred for the messages, as soon as there are *count* of them; at once if there are by now."""
        answer: Deferred[list[M]] = Deferred(self._give_up)
        self._waiting.append((count, answer))
        self._wake()
        return answer

    def _wake(self) -> None:
        there = len(self.messages)
        ready = [answer for count, answer in self._waiting if count <= there]
        self._waiting = [waiting for waiting in self._waiting if waiting[0] > there]
        for answer in ready:
            answer.callback(list(self.messages))

    def _give_up(self, answer: Deferred[list[M]]) -> None:
        self._waiting = [waiting for waiting in self._waiting if waiting[1] is not answer]


class Memory(Keeping[Message]):
    """Keeps the messages that were accepted last.

    :param keep: how many; older ones are dropped.
    :raises ValueError: *keep* is not positive.
    """

    #: Whoever looks at what it keeps sees what was asked for, and nothing else is done with a message here.
    honours = frozenset(
        {"binarymime", "deliverby", "dsn", "futurerelease", "mtpriority", "nosoliciting", "requiretls", "rrvs"}
    )

    def __init__(self, keep: int = 1000) -> None:
        if keep < 1:
            raise ValueError(f"keep must be more than 0, not {keep}")
        super().__init__()
        self.keep = keep

    @classmethod
    def from_options(cls, *, keep: str = "1000") -> "Memory":
        """The delivery that ``memory:`` with these options names.

        :raises ValueError: *keep* is no number, or not positive.
        """
        if not (keep.isascii() and keep.isdigit()):
            raise ValueError(f"keep is a number, not {keep!r}")
        return cls(int(keep))

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """Mail from anybody is taken."""
        return _Remembering(self)

    def wait(self, count: int = 1) -> Deferred[list[Message]]:
        """A Deferred for the messages, as soon as there are *count* of them; at once if there are by now.

        :raises ValueError: there will never be as many.
        """
        if count > self.keep:
            raise ValueError(f"only {self.keep} messages are kept, never {count}")
        return super().wait(count)

    def _add(self, message: Message) -> None:
        self.messages.append(message)
        del self.messages[: -self.keep]
        self._wake()


class _Remembering(DeliveryTransaction):
    """One message, remembered once it is complete."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._octets: list[bytes] = []

    def open(self, envelope: Envelope) -> None:
        """Begin."""
        self._envelope = envelope

    def write(self, octets: bytes) -> None:
        """Keep *octets*."""
        self._octets.append(octets)

    def commit(self) -> None:
        """Have the message seen."""
        self._memory._add(Message(self._envelope, b"".join(self._octets)))
