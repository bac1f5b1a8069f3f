"""What clients send as text, checked and made comparable: strict UTF-8, bounded, prepared by SASLprep (RFC 4013).

Two spellings of one name that look the same are one name then, and no name has a control character.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from stringprep import (
    b1_set,
    in_table_a1,
    in_table_c3,
    in_table_c4,
    in_table_c5,
    in_table_c6,
    in_table_c7,
    in_table_c8,
    in_table_c9,
    in_table_c12,
    in_table_c21_c22,
)
from unicodedata import ucd_3_2_0

from twistsmtp.sasl.api import Malformed

__all__ = ["LIMIT", "identities", "prepared", "saslprep", "traceprep", "utf8"]

#: Octets that a name or a password may have. All specifications have servers take 255 at least.
LIMIT = 1024

_Table = Callable[[str], bool]

#: Prohibited in both profiles (RFC 4505 section 3; RFC 4013 section 2.3), and in the second besides.
_TRACE: tuple[_Table, ...] = (
    in_table_c21_c22,
    in_table_c3,
    in_table_c4,
    in_table_c5,
    in_table_c6,
    in_table_c8,
    in_table_c9,
)
_SASL: tuple[_Table, ...] = (*_TRACE, in_table_c12, in_table_c7)

#: RFC 4013 section 2.1: table C.1.2 of RFC 3454 to a space, and table B.1 to nothing.
_MAPPED = {
    **dict.fromkeys((0xA0, 0x1680, *range(0x2000, 0x200C), 0x202F, 0x205F, 0x3000), " "),
    **dict.fromkeys(b1_set),
}

#: Table D.1 of RFC 3454 is of these directions; D.2 is of ``"L"``.
_FROM_THE_RIGHT = {"R", "AL"}


def saslprep(text: str, *, stored: bool = False) -> str:
    """*text* as RFC 4013 prepares it; it may be empty then.

    :param stored: it is to be kept, not to be compared with what is: then no character may be newer than Unicode 3.2,
        whose normal form could be another in time (RFC 3454 section 7).
    :raises ValueError: it has a character that it must not have; the text does not tell which.
    """
    if text.isascii() and text.isprintable():
        return text
    normal = ucd_3_2_0.normalize("NFKC", text.translate(_MAPPED))
    _check(normal, (*_SASL, in_table_a1) if stored else _SASL)
    return normal


def traceprep(text: str) -> str:
    """*text*, if the profile for trace information (RFC 4505 section 3) lets it pass.

    :raises ValueError: see `saslprep`.
    """
    _check(text, _TRACE)
    return text


def _check(text: str, prohibited: Iterable[_Table]) -> None:
    characters = set(text)
    # No letter, number or punctuation is in any of the tables, which are slow to ask.
    suspects = [each for each in characters if ucd_3_2_0.category(each)[0] not in "LNP"]
    if any(table(each) for table in prohibited for each in suspects):
        raise ValueError("prohibited character")
    # RFC 3454 section 6: text that runs from right to left does so from its first character to its last.
    directions = set(map(ucd_3_2_0.bidirectional, characters))
    if not directions.isdisjoint(_FROM_THE_RIGHT) and (
        "L" in directions or not {ucd_3_2_0.bidirectional(end) for end in (text[0], text[-1])} <= _FROM_THE_RIGHT
    ):
        raise ValueError("text of both directions")


def utf8(octets: bytes, what: str, limit: int = LIMIT) -> str:
    """*octets* as text.

    :param what: they are, for the error's text.
    :param limit: octets that there may be.
    :raises Malformed: they are too many, not UTF-8, or have a NUL.
    """
    if len(octets) > limit:
        raise Malformed(f"{what} too long")
    text = None
    with suppress(UnicodeDecodeError):  # It holds the octets, perhaps a secret: it must be no error's context.
        text = octets.decode()
    if text is None or "\0" in text:
        raise Malformed(f"{what} is not UTF-8 without NUL")
    return text


def prepared(octets: bytes, what: str) -> str:
    """*octets* as prepared text that is not empty: a name, or a password.

    :raises Malformed: see `utf8`, or it cannot be prepared, or nothing is left of it.
    """
    text = utf8(octets, what)
    try:
        text = saslprep(text)
    except ValueError:
        text = ""
    if not text or len(text.encode()) > LIMIT:
        raise Malformed(f"{what} empty, or not fit to be one")
    return text


def identities(username: str, authorization: str | None) -> tuple[str, str | None]:
    """Whom the client acts as, and whose credentials it has if that is somebody else; for `Login`.

    :param authorization: the authorization identity that the client asked for, if any.
    """
    if authorization is None or authorization == username:
        return username, None
    return authorization, username
