"""xtext (RFC 3461 section 4): octets in the value of a parameter, as ENVID, ORCPT and AUTH carry them."""

import re

from twistsmtp.wire.abnf import HEXCHAR, XTEXT, GrammarError

__all__ = ["decode_xtext", "decode_xtext_octets", "encode_xtext", "encode_xtext_octets"]

_NOT_XCHAR = re.compile(rb"[^!-*,-<>-~]")


def decode_xtext_octets(text: str) -> bytes:
    """The octets that xtext stands for, whatever they are.

    :raises GrammarError: 501: *text* is not xtext.
    """
    if not text.isascii():
        raise GrammarError("xtext", 501, "5.6.7", "Syntax: xtext is ASCII")
    if not XTEXT.fullmatch(text):
        raise GrammarError("xtext", 501, "5.5.4", "Syntax: xtext has + only before two upper case hex digits")
    return HEXCHAR.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1")


def encode_xtext_octets(octets: bytes) -> str:
    """*octets* as xtext."""
    return _NOT_XCHAR.sub(lambda match: b"+%02X" % match[0][0], octets).decode("ascii")


def decode_xtext(text: str) -> str:
    """The text that xtext stands for, which for ENVID and ORCPT must be printable (RFC 3461 sections 4.2,
    4.4).

    :raises GrammarError: 501: *text* is not xtext, or stands for more than printable ASCII and the space.
    """
    return _printable(decode_xtext_octets(text).decode("latin-1"))


def encode_xtext(text: str) -> str:
    """*text* as xtext, which `decode_xtext` makes *text* again.

    :raises GrammarError: 501: there is more in *text* than printable ASCII and the space.
    """
    return encode_xtext_octets(_printable(text).encode("ascii"))


def _printable(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    raise GrammarError("xtext", 501, "5.5.4", "Syntax: xtext stands for printable ASCII")
