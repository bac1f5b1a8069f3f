"""Command lines, as the original reads them: its addresses are those of header fields, with comments and all."""

import re
from collections.abc import MutableMapping, Sequence
from email._header_value_parser import get_addr_spec, get_angle_addr
from email.errors import HeaderParseError
from typing import Any, Protocol

from twistsmtp.wire.reply import Refusal, Reply

__all__ = ["behind_keyword", "read_address", "read_command", "read_parameters"]

BAD_SYNTAX = Reply(500, "", "Error: bad syntax")
STRICT_ASCII = Reply(500, "", "Error: strict ASCII mode")
TOO_LONG = Reply(500, "", "Command line too long")
LACK_OF_SECURITY = Reply(554, "", "Command refused due to lack of security")
STARTTLS_FIRST = Reply(530, "", "Must issue a STARTTLS command first")
#: What a client may say before it begins TLS, where it must. LHLO is what EHLO is called in LMTP.
ALLOWED_BEFORE_STARTTLS = {"NOOP", "EHLO", "LHLO", "STARTTLS", "QUIT"}

#: Characters that no command has, a bare CR or LF among them. Octets that are no UTF-8 are let through, as surrogates.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
#: What nearly every client sends, which needs no parser.
_COMMON_PATH = re.compile(
    r"<([\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)>", re.ASCII
)


class Asker(Protocol):
    """What there is to know about a server, and the connection that it has."""

    enable_SMTPUTF8: bool
    command_size_limit: int
    command_size_limits: MutableMapping[str, int]
    line_length_limit: int
    require_starttls: Any
    session: Any
    _tls_handshake_okay: bool


def read_command(line: bytes, server: Asker) -> tuple[str, str | None]:
    """The command in *line*, without its CRLF, in upper case; and its argument.

    :raises Refusal: it is no command, or may not be given.
    """
    if len(line) >= server.line_length_limit:
        raise Refusal(TOO_LONG)
    text = line.decode("utf-8", "surrogateescape")
    name, _, argument = text.partition(" ")
    if not name or not name.isascii() or _CONTROL.search(text):
        raise Refusal(BAD_SYNTAX)
    command, argument = name.upper(), argument.strip()
    if not (server.enable_SMTPUTF8 or argument.isascii()):
        raise Refusal(STRICT_ASCII)
    session = server.session
    if len(line) > (server.command_size_limits[command] if session.extended_smtp else server.command_size_limit):
        raise Refusal(TOO_LONG)
    if not server._tls_handshake_okay and command != "QUIT":
        raise Refusal(LACK_OF_SECURITY)
    if server.require_starttls and session.ssl is None and command not in ALLOWED_BEFORE_STARTTLS:
        raise Refusal(STARTTLS_FIRST)
    return command, argument or None


def behind_keyword(keyword: str, argument: str) -> str | None:
    """What stands behind ``FROM:`` or ``TO:``; ``None`` where that is not there."""
    if argument[: len(keyword)].upper() != keyword:
        return None
    return argument[len(keyword) :].strip()


def read_address(text: str, local_part_limit: int) -> tuple[str | None, str | None]:
    """The address in *text*, and what stands behind it; empty for no address, ``None`` for a malformed one.

    :param local_part_limit: characters; 0 for any number.
    """
    if not text:
        return "", ""
    match = _COMMON_PATH.match(text)
    if match is not None:
        address, rest = match[1], text[match.end() :].lstrip()
    else:
        try:
            found, rest = (get_angle_addr if text.lstrip().startswith("<") else get_addr_spec)(text)
            address = str(found.addr_spec)
        except (HeaderParseError, RecursionError, IndexError):  # all of what that parser is known to raise
            return None, None
    if local_part_limit and len(address.rpartition("@")[0]) > local_part_limit:
        return None, None
    return address, rest


def read_parameters(parameters: Sequence[str]) -> dict[str, str | bool] | None:
    """The values of *parameters* by keyword, ``True`` for one without; ``None`` where one is malformed."""
    values: dict[str, str | bool] = {}
    for each in parameters:
        keyword, equals, value = each.partition("=")
        if not keyword.isalnum() or (equals and not value):
            return None
        values[keyword] = value if equals else True
    return values
