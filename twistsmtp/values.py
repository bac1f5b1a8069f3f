"""Kinds of values that a setting has: how each is read from text or TOML, and how it is shown.

A kind's ``parse`` takes the text of a command line, or a value of TOML's. Its errors continue a sentence that
began with the value: "'12X' is not a size, such as 500K, 32M or 1G".
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from twistsmtp.clients import Networks
from twistsmtp.delivery.route import parse_pattern
from twistsmtp.log import OBSERVERS
from twistsmtp.security import Audience
from twistsmtp.wire.abnf import GrammarError
from twistsmtp.wire.address import parse_mailbox
from twistsmtp.wire.dotstream import BareNewline

__all__ = [
    "AUDIENCE",
    "BARE_NEWLINE",
    "CLIENT_CERTIFICATES",
    "COUNT",
    "DOMAIN",
    "DURATION",
    "FLAG",
    "HOST",
    "LOG_FORMAT",
    "NETWORK",
    "ROUTE",
    "SIZE",
    "TEXT",
    "WORD",
    "WORKERS",
    "Kind",
    "parse_duration",
    "parse_size",
]

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_SECONDS = {"": 1, "S": 1, "M": 60, "H": 3600, "D": 86400}
_SIZE = re.compile(r"([0-9]{1,15}) ?([KMG]?)", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([SMHD]?)", re.IGNORECASE)
_COUNT = re.compile(r"[0-9]{1,15}")
#: The most workers.
_WORKERS = 128


#: Patterns, and the deliveries of each.
Routes: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """What values of one kind look like.

    :param metavar: what stands for the value in the help.
    :param parse: makes the value, or raises ``ValueError``.
    :param show: makes text that `parse` would read as the value.
    """

    metavar: str
    parse: Callable[[object], Any]
    show: Callable[[Any], str] = str

    def named(self, metavar: str) -> "Kind":
        """The same kind under another *metavar*."""
        return replace(self, metavar=metavar)


def parse_network(value: object) -> str:
    """A name for `Networks`."""
    if not isinstance(value, str):
        raise ValueError("is not a network")
    try:
        Networks([value])
    except ValueError:
        raise ValueError("is not a network, such as 10.0.0.0/24, an IP address, or unix") from None
    return value


def parse_size(value: object) -> int:
    """Octets, as in ``1000``, ``"500K"``, ``"32M"`` or ``"1G"``; the units are powers of 1024.

    :raises ValueError: *value* is something else, or less than 1.
    """
    match = _SIZE.fullmatch(_text(value, "is not a size, such as 500K, 32M or 1G"))
    size = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if not size:
        raise ValueError("is not a size, such as 500K, 32M or 1G")
    return size


def parse_duration(value: object) -> float:
    """Seconds, as in ``300``, ``"300s"``, ``"5m"``, ``"1.5h"`` or ``"1d"``.

    :raises ValueError: *value* is something else, or nothing.
    """
    match = _DURATION.fullmatch(_text(value, "is not a time, such as 90, 30s, 5m or 1h"))
    seconds = float(match[1]) * _SECONDS[match[2].upper()] if match else 0.0
    if not seconds:
        raise ValueError("is not a time, such as 90, 30s, 5m or 1h")
    return seconds


def _parse_count(value: object) -> int:
    text = _text(value, "is not a number from 1 on")
    if not _COUNT.fullmatch(text) or not int(text):
        raise ValueError("is not a number from 1 on")
    return int(text)


def _parse_workers(value: object) -> int:
    """A number of processes, or ``"auto"``: as many as there are processors that this one may run on."""
    if value == "auto":
        return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _WORKERS)
    try:
        count = _parse_count(value)
    except ValueError:
        count = 0
    if not 1 <= count <= _WORKERS:
        raise ValueError(f"is neither a number from 1 to {_WORKERS} nor auto")
    return count


def _parse_text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is not a text")
    return value


def _parse_route(value: object) -> Routes:
    """A route, as in ``"example.org=maildir:/srv/mail"``, or TOML's table of them."""
    if isinstance(value, dict):
        pairs = list(value.items())
    else:
        pattern, _, delivery = _parse_text(value).partition("=")
        pairs = [(pattern, delivery)]
    return tuple((_parse_pattern(pattern), _parse_deliveries(pattern, given)) for pattern, given in pairs)


def _parse_pattern(pattern: str) -> str:
    try:
        parse_pattern(pattern)
    except ValueError as error:
        raise ValueError(f"is no route: {error}") from None
    return pattern


def _parse_deliveries(pattern: str, given: object) -> tuple[str, ...]:
    deliveries = given if isinstance(given, list) else [given]
    if not deliveries or not all(isinstance(each, str) and each.strip() for each in deliveries):
        raise ValueError(f"is no route: {pattern!r} needs a delivery")
    return tuple(deliveries)


def _parse_word(value: object) -> str:
    text = _parse_text(value)
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("is not a word")
    return text.upper()


def _parse_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _parse_host(value: object) -> str:
    try:
        return parse_mailbox(f"postmaster@{_parse_text(value)}").host
    except GrammarError as error:
        raise ValueError(f"is not a domain name: {error.text.removeprefix('Syntax: ')}") from None


def _parse_domain(value: object) -> str:
    return "*" if value == "*" else _parse_host(value)


def _text(value: object, otherwise: str) -> str:
    """A number or text as text; TOML's true is no number."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(otherwise)
    return str(value).strip()


def _one_of(*names: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in names:
            raise ValueError(f"is not one of {', '.join(names)}")
        return str(value)

    return parse


def _show_size(octets: int) -> str:
    unit = next(unit for unit in reversed(_UNITS) if octets % _UNITS[unit] == 0)
    return f"{octets // _UNITS[unit]}{unit}"


def _show_duration(seconds: float) -> str:
    unit = next(unit for unit in reversed(_SECONDS) if seconds % _SECONDS[unit] == 0 or not unit)
    return f"{seconds / _SECONDS[unit]:.10g}{unit.lower()}"


_newlines = _one_of(*(each.value for each in BareNewline))
_audience = _one_of(*Audience)

SIZE = Kind("SIZE", parse_size, _show_size)
DURATION = Kind("TIME", parse_duration, _show_duration)
COUNT = Kind("NUMBER", _parse_count)
WORKERS = Kind("NUMBER|auto", _parse_workers)
TEXT = Kind("TEXT", _parse_text)
WORD = Kind("WORD", _parse_word)
FLAG = Kind("", _parse_flag)
#: A domain or an address literal, made comparable.
HOST = Kind("HOST", _parse_host)
#: The same, or ``*``.
DOMAIN = Kind("DOMAIN", _parse_domain)
BARE_NEWLINE = Kind(
    "|".join(each.value for each in BareNewline),
    lambda value: BareNewline(_newlines(value)),
    lambda choice: str(choice.value),
)
#: How much a client needs a certificate.
CLIENT_CERTIFICATES = Kind("none|optional|required", _one_of("none", "optional", "required"))
#: Who is told something.
AUDIENCE = Kind("|".join(Audience), lambda value: Audience(_audience(value)))
LOG_FORMAT = Kind("|".join(OBSERVERS), _one_of(*OBSERVERS))
NETWORK = Kind("NETWORK", parse_network)
#: Where mail for some recipients goes.
ROUTE = Kind("PATTERN=DELIVERY", _parse_route)
