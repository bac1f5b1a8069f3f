"""What a connection knows: the `Session`, its `Transaction`, and the frozen values that those are made of.

A session lives as long as the connection (or until TLS begins: RFC 3207 makes it new). A transaction is one mail:
MAIL opens it, and its end, RSET, a second EHLO or a lost connection closes it. The stage of a session follows from
both, and is all that the verb table needs to know about order::

    CONNECTED --hello--> READY --MAIL--> MAIL --RCPT--> RCPT --message--> READY
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from twistsmtp.later import Later, then
from twistsmtp.limits import Limits
from twistsmtp.wire.frozen import quick_to_make
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.reply import Catalogue
from twistsmtp.wire.text import printable

if TYPE_CHECKING:
    from twistsmtp.delivery.api import Delivery, DeliveryTransaction

__all__ = [
    "TLS",
    "Check",
    "Counts",
    "Dialect",
    "Envelope",
    "Parameter",
    "Phase",
    "Recipient",
    "ReversePath",
    "Session",
    "Stage",
    "Transaction",
]

T = TypeVar("T")

_log = Logger(namespace="twistsmtp.session")


class _Nothing(dict[str, Any]):
    """No parameters. dataclass takes a default for one that is not to be shared unless it can be hashed."""

    def __hash__(self) -> int:  # type: ignore[override]  # which dict has not
        return 0


_NOTHING: Mapping[str, Any] = _Nothing()


class Stage(IntEnum):
    """How far a session is. The values are bits, so that a verb's stages are one number."""

    CONNECTED = 1
    READY = 2
    MAIL = 4
    RCPT = 8


class Phase(StrEnum):
    """When policies are asked; the value is the name of a policy's method."""

    CONNECT = "connect"
    HELLO = "hello"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    MESSAGE = "message"


#: A policy's method for one phase: called with the session, and with what the phase is about.
Check = Callable[..., Later[None]]


@dataclass(frozen=True, slots=True, eq=False)
class Parameter(Generic[T]):
    """A parameter of MAIL or RCPT (RFC 5321 section 4.1.1.11), and the typed key to its value.

    An extension makes one and lists it; a delivery or policy asks ``reverse_path.get(parameter)``.

    :param keyword: in upper case, as in ``"SIZE"``.
    :param parse: makes the value of its text (``None`` where no ``=`` followed the keyword), or raises `Refusal` or
        `GrammarError`.
    :param default: the value where the client gave none.
    :param octets: what the parameter adds to the greatest length of the command (RFC 5321 section 4.5.3.1.4).
    :param internationalizes: whether it makes mailboxes that are not ASCII legal in the transaction.
    """

    keyword: str
    parse: Callable[["Session", str | None], T]
    default: T
    octets: int
    internationalizes: bool = False


@dataclass(frozen=True, slots=True)
class _Path:
    #: The parameters as the client wrote them, the case of their values kept.
    options: tuple[tuple[str, str | None], ...] = ()
    #: Their typed values by keyword; `get` is the typed way to them.
    parameters: Mapping[str, Any] = field(default=_NOTHING, hash=False)

    def get(self, parameter: Parameter[T]) -> T:
        """The value of *parameter*, or its default."""
        return cast(T, self.parameters.get(parameter.keyword, parameter.default))


@quick_to_make
@dataclass(frozen=True, slots=True, kw_only=True)
class ReversePath(_Path):
    """Where notifications go: the argument of MAIL."""

    #: ``None`` for the null reverse-path ``<>``.
    mailbox: Mailbox | None
    #: Whether a parameter made mailboxes that are not ASCII legal in this transaction (RFC 6531).
    internationalized: bool = False

    def __str__(self) -> str:
        return str(self.mailbox) if self.mailbox else ""


@quick_to_make
@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient(_Path):
    """One forward-path: the argument of RCPT."""

    mailbox: Mailbox

    def __str__(self) -> str:
        return str(self.mailbox)


@quick_to_make
@dataclass(frozen=True, slots=True)
class Envelope:
    """Whom a message is from and to, complete when its octets begin to come."""

    #: The message's id, unique among the servers of this host; it is in the logs, the reply and the Received field.
    id: str
    reverse_path: ReversePath
    #: At least one.
    recipients: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True)
class TLS:
    """What is known of the encryption of a connection."""

    #: As OpenSSL names it, ``"TLSv1.3"``.
    version: str
    #: As OpenSSL names it, ``"TLS_AES_256_GCM_SHA384"``.
    cipher: str


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
    #: Commands that move no mail, since the last message that was accepted.
    idle_commands: int = 0

    def message(self, *, accepted: bool) -> None:
        """A message was answered."""
        if accepted:
            self.accepted += 1
            self.errors_in_a_row = self.idle_commands = 0
        else:
            self.refused += 1


class Dialect(Protocol):
    """What a session can ask about the verbs and extensions it is spoken to in: the registry's reading side."""

    @property
    def mail_parameters(self) -> Mapping[str, Parameter[Any]]:
        """The parameters of MAIL by keyword."""
        ...

    @property
    def rcpt_parameters(self) -> Mapping[str, Parameter[Any]]:
        """The parameters of RCPT by keyword."""
        ...

    def keywords(self, session: "Session") -> Sequence[str]:
        """The lines of the reply to EHLO behind the first."""
        ...

    def help(self, topic: str) -> str | None:
        """The text of HELP, of all verbs where *topic* is empty; ``None`` for an unknown topic."""
        ...


class Transaction:
    """One mail on its way in."""

    __slots__ = ("_aborted", "asked", "committed", "delivery", "id", "octets", "opened", "recipients", "reverse_path")

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
        #: Octets of the message received so far, decoded.
        self.octets = 0
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


def _client(peer: IAddress) -> str:
    host = getattr(peer, "host", None) or "local"
    # What a dual-stack socket makes of an IPv4 address (RFC 4291 section 2.5.5.2) is that address again.
    return host[len("::ffff:") :] if host.startswith("::ffff:") and "." in host else host


def _ask(checks: Sequence[Check], subject: tuple[Any, ...], _: None = None) -> Later[None]:
    """Call each of *checks* with *subject*, one when the one before it has answered."""
    for count, check in enumerate(checks, 1):
        answer = check(*subject)
        if answer is not None:
            return then(answer, partial(_ask, checks[count:], subject))
    return None


class Session:
    """One connection, as the verbs, policies and deliveries see it."""

    __slots__ = (
        "annotations",
        "checks",
        "client",
        "counts",
        "delivery",
        "dialect",
        "esmtp",
        "helo",
        "hostname",
        "id",
        "identity",
        "limits",
        "over",
        "peer",
        "replies",
        "seconds",
        "stage",
        "tls",
        "transaction",
    )

    def __init__(
        self,
        *,
        id: str,
        peer: IAddress,
        hostname: str,
        delivery: "Delivery",
        dialect: Dialect,
        limits: Limits,
        replies: Catalogue,
        checks: Mapping[Phase, Sequence[Check]],
        seconds: Callable[[], float],
    ) -> None:
        self.id = id
        self.peer = peer
        #: The client's address as text: an IP address, or ``"local"`` for a unix socket.
        self.client = _client(peer)
        #: The name that the server goes by.
        self.hostname = hostname
        self.delivery = delivery
        self.dialect = dialect
        self.limits = limits
        self.replies = replies
        #: The policies' methods, for `ask`.
        self.checks = checks
        #: The clock.
        self.seconds = seconds
        self.counts = Counts()
        #: What a policy leaves for those behind it.
        self.annotations: dict[str, Any] = {}
        self.tls: TLS | None = None
        #: The name given to HELO or EHLO; ``None`` before.
        self.helo: str | None = None
        #: Whether that was EHLO.
        self.esmtp = False
        #: Whom the client authenticated as; ``None`` before.
        self.identity: str | None = None
        #: Whether the connection is ending, so that nobody waits for an answer any more.
        self.over = False
        self.stage = Stage.CONNECTED
        self.transaction: Transaction | None = None

    def ask(self, phase: Phase, *subject: object) -> Later[None]:
        """Ask the policies of *phase* about *subject*, in their order; the first that refuses ends it.

        :raises Refusal: one of them refused.
        """
        checks = self.checks.get(phase)
        return _ask(checks, (self, *subject)) if checks else None

    def hello(self, name: str, *, esmtp: bool) -> None:
        """HELO or EHLO was accepted: as after RSET, the buffers are clear (RFC 5321 section 4.1.4)."""
        self.reset()
        self.helo = name
        self.esmtp = esmtp
        self.stage = Stage.READY

    def begin(self, reverse_path: ReversePath, delivery: "DeliveryTransaction") -> None:
        """MAIL was accepted."""
        self.counts.transactions += 1
        self.transaction = Transaction(f"{self.id}-{self.counts.transactions}", reverse_path, delivery)
        self.stage = Stage.MAIL

    def add(self, recipient: Recipient) -> None:
        """RCPT was accepted."""
        self.current.recipients.append(recipient)
        self.stage = Stage.RCPT

    @property
    def current(self) -> Transaction:
        """The open transaction.

        :raises LookupError: there is none; a verb that is legal only from `Stage.MAIL` on never sees this.
        """
        if self.transaction is None:
            raise LookupError("no transaction is open")
        return self.transaction

    def finish(self) -> None:
        """The transaction has ended, whichever way."""
        self.transaction = None
        if self.helo is not None:
            self.stage = Stage.READY

    def reset(self) -> None:
        """Give up the transaction, if there is one; the delivery drops what it has of it."""
        transaction = self.transaction
        if transaction is not None:
            self.finish()
            transaction.abort()

    def __repr__(self) -> str:
        return f"<Session {self.id} {printable(self.client)} {self.stage.name}>"
