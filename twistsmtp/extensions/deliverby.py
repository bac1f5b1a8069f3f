"""DELIVERBY (RFC 2852): a message is of use until some time only, and what is to be done when that has passed."""

import re
from dataclasses import dataclass
from enum import StrEnum

from twistsmtp.envelope import Parameter
from twistsmtp.session import Session
from twistsmtp.verb import Extension, honoured
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Refusal

__all__ = ["BY", "DeliverBy", "Mode", "extension"]

_usable = honoured("deliverby")


class Mode(StrEnum):
    """What becomes of a message that has not arrived in time (section 4)."""

    #: The sender is told, and the delivery goes on.
    NOTIFY = "N"
    #: The message is returned to the sender.
    RETURN = "R"


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """When a message has to have arrived.

    :param seconds: from the time of MAIL on; more than 0 where the mode is `Mode.RETURN`, else it may have passed.
    :param mode: what is to be done then.
    :param trace: whether each server that passes it on to one that does not know of this tells the sender.
    """

    seconds: int
    mode: Mode
    trace: bool = False


# by-value = by-time";"by-mode[by-trace]
# by-time  = ["-" / "+"]1*9digit ; a negative or zero value is not allowed with a by-mode of "R"
# by-mode  = "N" / "R"
# by-trace = "T"
_BY = re.compile(r"([+-]?[0-9]{1,9});([NRnr])([Tt]?)")


def _parse(session: Session, value: str | None) -> DeliverBy:
    match = _BY.fullmatch(value or "")
    if match is None:
        raise GrammarError("by-value", 501, "5.5.4", "BY is seconds, ; and N or R, and T for a trace")
    by = DeliverBy(int(match[1]), Mode(match[2].upper()), bool(match[3]))
    if by.mode is Mode.RETURN and by.seconds <= 0:
        raise GrammarError("by-value", 501, "5.5.4", "BY with R is more than 0 seconds")
    return by


def _by(least: int) -> Parameter[DeliverBy | None]:
    def parse(session: Session, value: str | None) -> DeliverBy:
        by = _parse(session, value)
        if by.mode is Mode.RETURN and by.seconds < least:
            raise Refusal(session.replies.by_too_soon.fill(least=least))  # section 3: 55z
        return by

    return Parameter(keyword="BY", parse=parse, default=None, octets=17, usable=_usable)


#: ``reverse_path.get(BY)``. Section 2 (5) adds 17 octets to MAIL.
BY: Parameter[DeliverBy | None] = _by(0)


def extension(least: int = 0) -> Extension:
    """All that it adds.

    :param least: seconds that a message with `Mode.RETURN` must have: EHLO tells it, if there is such a limit.
    :raises ValueError: *least* is not 0 to 999999999.
    """
    if not 0 <= least <= 999_999_999:
        raise ValueError(f"the least time is 0 to 999999999 seconds, not {least}")
    return Extension(
        name="deliverby",
        rfc="RFC 2852",
        keyword=f"DELIVERBY {least}" if least else "DELIVERBY",
        usable=_usable,
        mail_parameters=(_by(least),),
    )
