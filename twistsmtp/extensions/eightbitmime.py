"""8BITMIME (RFC 6152): octets above 127 in a message's body, announced by BODY=8BITMIME.

The decoder passes all octets on unchanged, announced or not; what was announced is for a delivery that forwards.
"""

from enum import StrEnum

from twistsmtp.envelope import Parameter
from twistsmtp.session import Session
from twistsmtp.verb import Extension
from twistsmtp.wire.grammar import GrammarError

__all__ = ["BODY", "Body", "extension"]


class Body(StrEnum):
    """body-value ::= "7BIT" / "8BITMIME" (RFC 6152 section 2), or "BINARYMIME" (RFC 3030 section 3) where that is
    offered."""

    SEVENBIT = "7BIT"
    EIGHTBITMIME = "8BITMIME"
    BINARYMIME = "BINARYMIME"


def _parse(session: Session, value: str | None) -> Body:
    body = _BODIES.get((value or "").upper())
    if body is None or (body is Body.BINARYMIME and not session.dialect.offers("binarymime", session)):
        raise GrammarError("body-value", 501, "5.5.4", "BODY is a value that is not offered")
    return body


_BODIES = {body.value: body for body in Body}


#: ``reverse_path.get(BODY)``.
BODY = Parameter(keyword="BODY", parse=_parse, default=Body.SEVENBIT, octets=len(" BODY=BINARYMIME"))


def extension() -> Extension:
    """All that it adds."""
    return Extension(name="eightbitmime", rfc="RFC 6152", keyword="8BITMIME", mail_parameters=(BODY,))
