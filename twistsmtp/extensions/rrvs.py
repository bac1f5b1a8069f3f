"""RRVS (RFC 7293): a message is for whoever has had a mailbox since some time, and not for a later owner.

Whether the owner has changed is for the delivery to know. It refuses the recipient in `DeliveryTransaction.rcpt`, with
the enhanced codes that the RFC has registered: ``Refusal(session.replies.owner_changed)`` (5.7.17),
``session.replies.domain_changed`` (5.7.18), ``session.replies.owner_unknown`` (5.7.19).
"""

from dataclasses import dataclass
from datetime import datetime

from twistsmtp.envelope import Parameter
from twistsmtp.extensions.timestamps import LONGEST, parse_timestamp
from twistsmtp.session import Session
from twistsmtp.verb import Extension, honoured
from twistsmtp.wire.grammar import GrammarError

__all__ = ["RRVS", "ValidSince", "extension"]

_usable = honoured("rrvs")


@dataclass(frozen=True, slots=True)
class ValidSince:
    """Since when a mailbox must have had its owner.

    :param moment: in UTC.
    :param required: whether the message is not to be passed on to a server that cannot see to this. It is unless the
        client says otherwise.
    """

    moment: datetime
    required: bool = True


def _malformed() -> GrammarError:
    return GrammarError("rrvs-param", 501, "5.5.4", "RRVS is a date-time of RFC 3339, and may have ;C or ;R behind it")


# rrvs-param = "RRVS=" date-time [ ";" ( "C" / "R" ) ]
def _parse(session: Session, value: str | None) -> ValidSince:
    text, semicolon, action = (value or "").partition(";")
    if semicolon and action not in ("C", "c", "R", "r"):
        raise _malformed()
    try:
        return ValidSince(parse_timestamp(text), action not in ("C", "c"))
    except ValueError:
        raise _malformed() from None


#: ``recipient.get(RRVS)``. Section 3.1 adds 33 octets to RCPT; fractions of a second are longer.
RRVS: Parameter[ValidSince | None] = Parameter(
    keyword="RRVS", parse=_parse, default=None, octets=len(" RRVS=" + LONGEST + ";C"), usable=_usable
)


def extension() -> Extension:
    """All that it adds."""
    return Extension(name="rrvs", rfc="RFC 7293", keyword="RRVS", usable=_usable, rcpt_parameters=(RRVS,))
