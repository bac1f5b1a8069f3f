"""The messages that a server under test has got, as a test wants to look at them."""

import email
from collections import deque
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default

from twistsmtp.delivery.api import DeliveryTransaction, Envelope, ReversePath, Session
from twistsmtp.delivery.memory import Keeping, Memory
from twistsmtp.wire.text import printable

__all__ = ["Inbox", "ReceivedMessage"]

#: What happened last, of which an error tells.
REMEMBERED = 20


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that the server took."""

    #: The reverse-path as the client wrote it; ``""`` for the null reverse-path.
    sender: str
    #: The forward-paths, in order.
    recipients: tuple[str, ...]
    #: The message as it was sent, octet for octet, with CRLF line ends: no Received field is in front.
    octets: bytes = field(repr=False)
    #: Sender and recipients with their parameters.
    envelope: Envelope = field(repr=False)
    #: The client's IP address, what it said in HELO or EHLO, and whether it used TLS.
    client: str = ""
    helo: str = ""
    encrypted: bool = False
    #: Whom the client authenticated as; ``None`` if it did not.
    identity: str | None = None

    @property
    def email(self) -> EmailMessage:
        """The message parsed, anew each time; its line ends are ``\\n``, as Python has them."""
        return email.message_from_bytes(self.octets.replace(b"\r\n", b"\n"), policy=default)


class Inbox(Keeping[ReceivedMessage]):
    """Takes mail from everybody to everybody, and keeps it."""

    wants_received = False
    #: Whoever looks at what it keeps sees what was asked for. But FUTURERELEASE has the time of day in the reply to
    #: EHLO, which is to be the same every time.
    honours = Memory.honours - {"futurerelease"}

    def __init__(self) -> None:
        super().__init__()
        #: What happened of late that brought no message, for whoever waits for one in vain.
        self.journal: deque[str] = deque(maxlen=REMEMBERED)

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """Mail from anybody is taken."""
        return _Receiving(self, session)

    def note(self, what: str) -> None:
        """Put down that *what* happened."""
        self.journal.append(printable(what))

    def keep(self, message: ReceivedMessage) -> None:
        """*message* has come."""
        self.messages.append(message)
        self._wake()


class _Receiving(DeliveryTransaction):
    """One message."""

    def __init__(self, inbox: Inbox, session: Session) -> None:
        self._inbox = inbox
        self._session = session
        self._octets: list[bytes] = []

    def open(self, envelope: Envelope) -> None:
        """Begin."""
        self._envelope = envelope

    def write(self, octets: bytes) -> None:
        """Keep *octets*."""
        self._octets.append(octets)

    def commit(self) -> None:
        """Have the message seen."""
        session, envelope = self._session, self._envelope
        self._inbox.keep(
            ReceivedMessage(
                sender=str(envelope.reverse_path),
                recipients=tuple(map(str, envelope.recipients)),
                octets=b"".join(self._octets),
                envelope=envelope,
                client=session.client,
                helo=session.helo or "",
                encrypted=session.tls is not None,
                identity=session.identity,
            )
        )

    def abort(self) -> None:
        """Forget it."""
        self._octets.clear()
        if hasattr(self, "_envelope"):
            self._inbox.note(f"a message to {', '.join(map(str, self._envelope.recipients))} was not completed")
