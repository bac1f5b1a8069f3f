"""One mail on its way in, and what a connection has done so far."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from twistsmtp.envelope import Envelope, Recipient, ReversePath

if TYPE_CHECKING:
    from twistsmtp.delivery.api import DeliveryTransaction

__all__ = ["Counts", "Transaction"]

_log = Logger(namespace="twistsmtp.session")


@dataclass(slots=True)
class Counts:
    """What a connection has done so far. It outlives the session that TLS makes new: it guards against abuse."""

    transactions: int = 0
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
        "asked",
        "chunked",
        "committed",
        "delivery",
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
        #: RCPT commands so far, whatever became of them.
        self.asked = 0
        #: When the message was opened, in the clock's seconds; ``None`` before.
        self.opened: float | None = None
        #: Seconds of the time since then that the delivery took for octets.
        self.spared = 0.0
        #: Octets of the message received so far, decoded.
        self.octets = 0
        #: What takes the octets of a message that comes in chunks, from the first one on.
        self.chunked: Any = None
        #: Whether the delivery has given its word for the mail, so that there is nothing to abort any more.
        self.committed = False
        self._aborted = False

    def abort(self) -> None:
        """The delivery drops what it has of the mail; a second call does nothing."""
        if not (self._aborted or self.committed):
            self._aborted = True
            try:
                self.delivery.abort()
            except Exception:  # which is not the client's affair
                _log.failure("{id} the delivery failed to abort", id=self.id)

    def envelope(self) -> Envelope:
        """Whom the mail is from and to, as far as that is known by now."""
        return Envelope(self.id, self.reverse_path, tuple(self.recipients))
