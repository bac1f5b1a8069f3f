"""The arguments of XCLIENT and XFORWARD, as Postfix's documents have them: attributes with values in xtext.

::

    xclient-command  = XCLIENT 1*( SP attribute-name"="attribute-value )
    xforward-command = XFORWARD 1*( SP attribute-name"="attribute-value )
    attribute-value  = xtext

Postfix itself, which sends and takes them, does not go so far in its xtext as RFC 3461: an equals sign need not be
quoted, and hex digits may be in lower case.
"""

import re
from collections.abc import Collection, Iterator
from enum import Enum

from twistsmtp.wire.abnf import GrammarError

__all__ = ["Unstated", "malformed", "neutered", "parse_attributes", "parse_port"]

#: Octets of a value, decoded.
VALUE_LIMIT = 255

_VALUE = re.compile(r"(?:[!-*,-~]|\+[0-9A-Fa-f]{2})++")
_HEX = re.compile(r"\+(..)")
# What clients have said to somebody who takes anything: control characters, blanks, what is not ASCII, and what means
# something in a header field. Postfix has a question mark in its place, too.
_SPECIAL = re.compile(r'[^!-~]|[()<>\\";@]')


class Unstated(Enum):
    """What stands in place of a value that is not known."""

    UNAVAILABLE = "[UNAVAILABLE]"
    #: It may be known later: a name server did not answer.
    TEMPUNAVAIL = "[TEMPUNAVAIL]"


def malformed(command: str, name: str) -> GrammarError:
    """The error for an attribute whose value is not what it asks for."""
    return GrammarError(name, 501, "5.5.4", f"Syntax: {name} of {command} is malformed")


def parse_attributes(argument: str, command: str, names: Collection[str]) -> Iterator[tuple[str, str | Unstated]]:
    """The attributes in *argument*: the name, which is one of *names*, and what its value stands for.

    What a value stands for is as many characters as octets were sent: it may be anything.

    :param command: ``"XCLIENT"``, say, for the errors.
    :raises GrammarError: 501: there is no attribute, one that is unknown, or one whose value is not xtext.
    """
    words = argument.split()
    if not words:
        raise GrammarError(command, 501, "5.5.4", f"Syntax: {command} attribute=value ...")
    for word in words:
        name, equals, value = word.partition("=")
        name = name.upper()
        if name not in names or not equals:
            raise GrammarError(command, 501, "5.5.4", f"Syntax: {command} has no such attribute")
        if value.upper() in _UNAVAILABLE:
            yield name, _UNAVAILABLE[value.upper()]
            continue
        text = _HEX.sub(lambda match: chr(int(match[1], 16)), value) if _VALUE.fullmatch(value) else ""
        if not 0 < len(text) <= VALUE_LIMIT:
            raise malformed(command, name)
        yield name, text


_UNAVAILABLE = {each.value: each for each in Unstated}


def neutered(text: str) -> str:
    """*text*, which may be anything, as it can be shown anywhere."""
    return _SPECIAL.sub("?", text)


def parse_port(command: str, name: str, text: str) -> int:
    """*text* as the number of a TCP port.

    :raises GrammarError: 501: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise malformed(command, name)
    return int(text)
