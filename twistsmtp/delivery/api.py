"""The contract between the server and whatever takes its mail.

A delivery is asked once for each transaction, and gives an object that lives as long as the transaction does::

    MAIL            delivery.begin(session, reverse_path) -> transaction
    RCPT (each)     transaction.rcpt(recipient)
    DATA            transaction.open(envelope)
    octets          transaction.write(octets)      as often as it takes
    end of message  transaction.commit()           250 goes out when this has answered
    anything else   transaction.abort()            RSET, a refusal, a lost connection

Every method but `abort` may answer at once, with a Deferred, or be ``async def``. Nothing else of the connection runs
while an answer is pending, and a pending `write` stops the reading of more: memory does not grow with the message.
When the client goes away meanwhile, what is pending is cancelled and `abort` runs.

To refuse, raise `Refusal` with the reply that the client is to see. Any other exception is logged with its traceback
and answered by ``451 4.3.0``, never by its text. A whole delivery of one's own::

    class Count(Delivery):
        def __init__(self):
            self.messages = 0

        def begin(self, session, reverse_path):
            return CountOne(self)

    class CountOne(DeliveryTransaction):
        def __init__(self, count):
            self.count = count

        def rcpt(self, recipient):
            if recipient.mailbox.local != "counter":
                raise Refusal(Reply(550, "5.1.1", "Only the counter lives here"))

        def commit(self):
            self.count.messages += 1
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from zope.interface import Interface

from twistsmtp.envelope import Envelope, Recipient, ReversePath
from twistsmtp.later import Later
from twistsmtp.lifecycle import Checkable, Reloader, Starter, Stopper
from twistsmtp.session import Session
from twistsmtp.wire.reply import Refusal, Reply

__all__ = [
    "Checkable",
    "Delivery",
    "DeliveryTransaction",
    "Envelope",
    "Expander",
    "IDelivery",
    "Recipient",
    "Refusal",
    "Reloader",
    "Reply",
    "ReversePath",
    "Session",
    "Starter",
    "Stopper",
    "Verifier",
]


class DeliveryTransaction(Protocol):
    """A delivery's side of one transaction. Subclass it to inherit the methods that you have no use for."""

    def rcpt(self, recipient: Recipient) -> Later[None]:
        """Take *recipient*, or raise `Refusal`."""
        return None

    def open(self, envelope: Envelope) -> Later[None]:
        """The message's octets are about to come. The recipients are those that `rcpt` took. To refuse here ends the
        transaction."""
        return None

    def write(self, octets: bytes) -> Later[None]:
        """The next octets of the message, decoded, with CRLF line ends, cut anywhere. The first begin with the
        Received field, if the delivery `wants_received`."""
        return None

    def commit(self) -> Later[Reply | Sequence[Reply] | None]:
        """The message is complete. Answer when it is safe: what a 250 is sent for must survive a power cut.

        :returns: ``None`` for the server's own 250, a reply, or one reply for each recipient of the envelope in
            order. Over SMTP, which has room for one, the first that is temporary stands for all, else the first that
            refuses: the client then sends again or reports, so that nothing is lost.
        """
        return None

    def abort(self) -> None:
        """Drop all there is of the message, now or soon. Called once, unless `commit` has answered; a `commit` that
        fails or is cancelled has not."""
        return


class Delivery(Protocol):
    """Where accepted mail goes. One object serves all connections of a factory."""

    #: Whether the server writes a Received field (RFC 5321 section 4.4) in front of the message.
    wants_received: bool = True
    #: Names of the extensions whose parameters it does something about, as ``"dsn"``: of those that ask for something
    #: to be done with a message EHLO offers no other.
    honours: frozenset[str] = frozenset()

    def begin(self, session: Session, reverse_path: ReversePath) -> Later[DeliveryTransaction]:
        """A transaction from *reverse_path*: the object that sees it through, or raise `Refusal`."""
        ...


class IDelivery(Interface):
    """What a realm is asked for, and what an avatar that is a `Delivery` may declare to provide."""


@runtime_checkable
class Verifier(Protocol):
    """A delivery that answers VRFY, to whom `Security.verify` says."""

    def verify(self, session: Session, text: str) -> Later[Sequence[str]]:
        """The mailboxes that *text* may mean, as in ``"Jim Smith <smith@example.com>"``: one of them for yes (250),
        several where it is ambiguous (553), none for "cannot say" (252); or raise `Refusal`."""
        ...


@runtime_checkable
class Expander(Protocol):
    """A delivery that answers EXPN, to whom `Security.verify` says."""

    def expand(self, session: Session, text: str) -> Later[Sequence[str]]:
        """The members of the mailing list *text*, or raise `Refusal`."""
        ...
