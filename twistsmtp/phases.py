"""How a session goes: its stages, the phases in which policies are asked, and the dialect that is spoken in it."""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum, StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from twistsmtp.envelope import Parameter
from twistsmtp.later import Later, is_later, then

if TYPE_CHECKING:
    from twistsmtp.session import Session

__all__ = ["LASTING", "Check", "Checks", "Dialect", "Phase", "Stage", "ask", "no_refusal"]


class Stage(IntEnum):
    """How far a session is. The values are bits, so that a verb's stages are one number."""

    CONNECTED = 1
    READY = 2
    MAIL = 4
    RCPT = 8
    BARRED = 16
    #: Behind RCPT, when the message has begun to come in chunks (RFC 3030).
    CHUNKS = 32


class Phase(StrEnum):
    """When policies are asked; the value is the name of a policy's method."""

    CONNECT = "connect"
    HELLO = "hello"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    MESSAGE = "message"


#: Those of a session; the others are of one message, or of its recipients.
LASTING = frozenset({Phase.CONNECT, Phase.HELLO, Phase.AUTH})

#: A policy's method for one phase: called with the session, and with what the phase is about.
Check = Callable[..., Later[None]]

_NO_METHODS: Mapping[Phase, tuple[Check, ...]] = {}


class Checks(dict[Phase, tuple[Check, ...]]):
    """The policies' methods by their phase, in the order in which they are asked; a phase that none cares for is not
    there.

    :param reads_message: whether one of them looks at the message when it has come.
    """

    def __init__(
        self, methods: Mapping[Phase, tuple[Check, ...]] = _NO_METHODS, *, reads_message: bool = False
    ) -> None:
        super().__init__(methods)
        self.reads_message = reads_message


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

    def offers(self, name: str, session: "Session") -> bool:
        """Whether there is an extension *name*, and *session* may use it."""
        ...

    def keywords(self, session: "Session") -> Sequence[str]:
        """The lines of the reply to EHLO behind the first."""
        ...

    def help(self, topic: str, session: "Session") -> str | None:
        """The text of HELP for *session*, of all verbs where *topic* is empty; ``None`` for an unknown topic."""
        ...


def ask(checks: Sequence[Check], subject: tuple[Any, ...], before: object = None) -> Later[None]:
    """Call each of *checks* with *subject*, one when the one before it has answered.

    :param before: what the one before these has answered.
    :raises TypeError: an answer is anything but ``None``: a reply that is returned, and not raised, would let pass what
        it was to refuse.
    """
    if before is not None:
        raise no_refusal("a policy", before)
    for count, check in enumerate(checks, 1):
        answer = check(*subject)
        if answer is not None:
            if not is_later(answer):
                raise no_refusal("a policy", answer)
            return then(answer, partial(ask, checks[count:], subject))
    return None


def no_refusal(who: str, answer: object) -> TypeError:
    """What to raise where *who* has answered, with a reply it may be, and was only to raise or not: to go on would let
    pass what the answer was to refuse."""
    return TypeError(f"{who} refuses by raising Refusal, and returns None, not {type(answer).__name__}")
