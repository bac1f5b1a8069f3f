"""One mail on its way in, and what a connection has done so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from twistsmtp.envelope import Envelope, Recipient, ReversePath
from twistsmtp.held import Held
from twistsmtp.wire.reply import Reply

if TYPE_CHECKING:
    from twistsmtp.delivery.api import DeliveryTransaction

__all__ = ["Counts", "Transaction", "one_for_all"]

_log = Logger(namespace="twistsmtp.session")


@dataclass(slots=True)
class Counts:
    """What a connection has done so far. It outlives the session that TLS makes new: it guards against abuse."""

    transactions: int = 0
    #: How many of these there were before the session began anew, under TLS or as another client's.
    before: int = 0
    #: Messages answered by a 250, and messages refused when they had come.
    accepted: int = 0
    refused: int = 0
    #: Commands answered by a 4xx or 5xx, in all and since the last message that was accepted.
    errors: int = 0
    errors_in_a_row: int = 0
    unknown_commands: int = 0
    #: Credentials that were not right.
    auth_failures: int = 0
    #: Commands that move no mail, since the last message that was accepted.
    idle_commands: int = 0

    def message(self, *, accepted: bool) -> None:
        """A message was answered."""
        if accepted:
            self.accepted += 1
            self.errors_in_a_row = self.idle_commands = 0
        else:
            self.refused += 1


class Transaction:
    """One mail on its way in."""

    __slots__ = (
        "_aborted",
        "_groups",
        "asked",
        "chunked",
        "committed",
        "delivery",
        "held",
        "id",
        "octets",
        "opened",
        "recipients",
        "reverse_path",
        "spared",
    )

    def __init__(self, id: str, reverse_path: ReversePath, delivery: "DeliveryTransaction") -> None:
        self.id = id
        self.reverse_path = reverse_path
        #: The delivery's side of this transaction.
        self.delivery = delivery
        self.recipients: list[Recipient] = []
        #: How many recipients stand for the one of a RCPT, by the place of their first; where it is one, nothing.
        self._groups: dict[int, int] = {}
        #: RCPT commands so far, whatever became of them.
        self.asked = 0
        #: When the message was opened, in the clock's seconds; ``None`` before.
        self.opened: float | None = None
        #: Seconds of the time since then that the delivery took for octets.
        self.spared = 0.0
        #: Octets of the message received so far, decoded.
        self.octets = 0
        #: The message, if a policy reads it when it has come; the delivery gets it after that.
        self.held: Held | None = None
        #: What takes the octets of a message that comes in chunks, from the first one on, and is told of its end by
        #: ``aborted()``.
        self.chunked: Any = None
        #: Whether the delivery has given its word for the mail, so that there is nothing to abort any more.
        self.committed = False
        self._aborted = False

    def abort(self) -> None:
        """The delivery drops what it has of the mail; a second call does nothing."""
        if not (self._aborted or self.committed):
            self._aborted = True
            self.let_go()
            if self.chunked is not None:
                self.chunked.aborted()
            try:
                self.delivery.abort()
            except Exception:  # which is not the client's affair
                _log.failure("{id} the delivery failed to abort", id=self.id)

    def add_together(self, recipients: Sequence[Recipient]) -> None:
        """*recipients* stand for the one that RCPT asked for."""
        self._groups[len(self.recipients)] = len(recipients)
        self.recipients += recipients

    @property
    def accepted(self) -> int:
        """RCPT commands that were accepted."""
        return len(self.recipients) - sum(each - 1 for each in self._groups.values())

    def let_go(self) -> None:
        """The message is not held any more."""
        held, self.held = self.held, None
        if held is not None:
            held.close()

    def answers(self, replies: Sequence[Reply]) -> Sequence[Reply]:
        """A reply for each RCPT that was accepted, of *replies*, one for each recipient."""
        if not self._groups:
            return replies
        firsts = [0]
        while firsts[-1] < len(replies):
            firsts.append(firsts[-1] + self._groups.get(firsts[-1], 1))
        return [one_for_all(replies[first:end]) for first, end in pairwise(firsts)]

    def envelope(self) -> Envelope:
        """Whom the mail is from and to, as far as that is known by now."""
        return Envelope(self.id, self.reverse_path, tuple(self.recipients))


def one_for_all(replies: Sequence[Reply]) -> Reply:
    """One reply in the place of several: the first temporary one, else the first that refuses, else the first. The
    client then sends again or reports, so that nothing is lost."""
    return min(replies, key=lambda reply: (not reply.temporary, reply.positive))
