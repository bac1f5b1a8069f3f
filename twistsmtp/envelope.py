"""Whom a message is from and to: paths with their parameters, and the envelope that they make."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from twistsmtp.wire.frozen import quick_to_make
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.reply import Reply

if TYPE_CHECKING:
    from twistsmtp.session import Session

__all__ = ["Envelope", "Parameter", "Recipient", "ReversePath", "always"]

T = TypeVar("T")


class _Nothing(dict[str, Any]):
    """No parameters. dataclass takes a default for one that is not to be shared unless it can be hashed."""

    def __hash__(self) -> int:  # type: ignore[override]  # which dict has not
        return 0


_NOTHING: Mapping[str, Any] = _Nothing()


def always(session: "Session") -> bool:
    """Yes, whoever asks."""
    return True


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Parameter(Generic[T]):
    """A parameter of MAIL or RCPT (RFC 5321 section 4.1.1.11), and the typed key to its value.

    An extension makes one and lists it; a delivery or policy asks ``reverse_path.get(parameter)``.

    :param keyword: in upper case, as in ``"SIZE"``.
    :param parse: makes the value of its text (``None`` where no ``=`` followed the keyword), or raises `Refusal` or
        `GrammarError`.
    :param default: the value where the client gave none.
    :param octets: what the parameter adds to the greatest length of the command (RFC 5321 section 4.5.3.1.4).
    :param internationalizes: whether it makes mailboxes that are not ASCII legal in the transaction.
    :param usable: whether a session may use it, as `Extension.usable`; else it is as unknown as any other word.
    :param clause: makes of a value a clause of the Received field (RFC 5321 section 4.4,
        Additional-Registered-Clauses), or ``""``.
    :param comment: makes of a value a comment behind the protocol in that field, with its parentheses, or ``""``.
    :param taken: makes of a value, and of the reply by which the message is taken, the reply that is sent.
    :param excludes: the keywords of parameters that cannot stand beside it; each of them names this one.
    """

    keyword: str
    parse: Callable[["Session", str | None], T]
    default: T
    octets: int
    internationalizes: bool = False
    usable: Callable[["Session"], bool] = always
    excludes: frozenset[str] = frozenset()
    clause: Callable[[T], str] | None = None
    comment: Callable[[T], str] | None = None
    taken: Callable[["Session", T, Reply], Reply] | None = None

    def __repr__(self) -> str:
        return f"<Parameter {self.keyword}>"


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
