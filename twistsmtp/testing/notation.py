r"""Conversations as text, to be written by hand and to be kept in files.

A line stands for a line, without its CRLF, behind who says it::

    S: 220 mx.test ESMTP twistsmtp
    C: EHLO client.test

What is not printable ASCII is escaped: ``\xe9``, ``\t``, and ``\\`` for a backslash. A backslash at the end of a line
says that no CRLF follows, and ``\*`` stands for octets that were left out, as they were a secret. In parentheses is
what happens besides octets.
"""

import re
from collections.abc import Iterable
from enum import StrEnum

__all__ = ["SECRET", "Event", "Secret", "Token", "lines_of", "parse_octets", "written"]


class Event(StrEnum):
    """What happens besides octets, as it is written."""

    #: The client begins TLS, and it stands.
    TLS = "(begins TLS)"
    #: The client closes its side, and reads on.
    HALF_CLOSES = "(closes its side)"
    #: Whoever it is ends the connection.
    CLOSES = "(closes)"


_EVENTS = frozenset(Event)


class Secret:
    """Octets that were left out."""

    def __repr__(self) -> str:
        return "SECRET"


#: The one that there is.
SECRET = Secret()

#: Octets, or some that were left out.
Token = bytes | Secret

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[\\rnt*]|.?)", re.DOTALL)
_SHORT = {"\\": b"\\", "r": b"\r", "n": b"\n", "t": b"\t"}
#: Characters that stand for no octet.
_SECRET, _END = "\u0100", "\u0101"
_VISIBLE = {chr(octet): f"\\x{octet:02x}" for octet in range(256)}
_VISIBLE |= {octets.decode(): f"\\{name}" for name, octets in _SHORT.items()} | {_SECRET: "\\*"}
_INVISIBLE = re.compile(rf"[^ -~{_END}]|\\")


def written(tokens: Iterable[Token]) -> str:
    """*tokens*, escaped."""
    return _escaped(_characters(tokens))


def lines_of(tokens: Iterable[Token]) -> list[str]:
    """The lines of *tokens* as they are written, the last with a backslash at its end if it has no CRLF."""
    *texts, last = _escaped(_characters(tokens).replace("\r\n", _END)).split(_END)
    lines = list(map(_guarded, texts))
    return [*lines, last + "\\"] if last else lines


def _escaped(characters: str) -> str:
    return _INVISIBLE.sub(lambda match: _VISIBLE[match[0]], characters)


def _characters(tokens: Iterable[Token]) -> str:
    """A character for each octet and secret: so there are no steps for each of them or for each line, of which a
    recording has many."""
    return "".join(_SECRET if isinstance(each, Secret) else each.decode("latin-1") for each in tokens)


def _guarded(text: str) -> str:
    """*text*, that it is not taken for something that happens."""
    return f"\\x28{text[1:]}" if text in _EVENTS else text


def parse_octets(text: str) -> list[Token]:
    """What a line of *text* stands for, with its CRLF if it has one.

    :raises ValueError: a backslash has nothing behind it that it could mean.
    """
    whole = _ESCAPE.sub("", text)
    ends_open = text.endswith("\\") and _ESCAPE.findall(text)[-1] == ""
    if "\\" in whole:
        raise ValueError(f"what is {text!r}?")
    body = text[:-1] if ends_open else text
    tokens: list[Token] = []
    position = 0
    for match in _ESCAPE.finditer(body):
        tokens += [body[position : match.start()].encode(), _meant(match[1], text)]
        position = match.end()
    tokens += [body[position:].encode(), b"" if ends_open else b"\r\n"]
    return _together(tokens)


def _meant(escape: str, text: str) -> Token:
    if escape == "*":
        return SECRET
    if escape[:1] == "x" and len(escape) == 3:
        return bytes.fromhex(escape[1:])
    if escape not in _SHORT:
        raise ValueError(f"{text!r}: a backslash may stand before {' '.join(_SHORT)} *, and before x and two digits")
    return _SHORT[escape]


def _together(tokens: Iterable[Token]) -> list[Token]:
    """*tokens* with octets that follow on each other as one, and none that is empty."""
    result: list[Token] = []
    for token in tokens:
        if isinstance(token, bytes) and result and isinstance(result[-1], bytes):
            result[-1] += token
        elif token != b"":
            result.append(token)
    return result
