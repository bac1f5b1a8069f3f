"""Header fields that the server writes (RFC 5322 section 2.2)."""

import re

__all__ = ["FIELD_LINE", "header_field"]

#: Octets of a line, without its CRLF, at the most (RFC 5322 section 2.1.1).
FIELD_LINE = 998

#: ftext, printable ASCII but a colon (RFC 5322 section 3.6.8).
_NAME = re.compile(r"[!-9;-~]{1,76}")
#: What stands in no line of a value: control characters but TAB, and the two that some believe to end a line.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_FOLD = re.compile(r"\r?\n(?=[ \t]+[^ \t\r\n])")


def header_field(name: str, value: str) -> bytes:
    """The header field *name*, with its CRLF.

    :param value: ASCII, or UTF-8 for who writes what RFC 6532 allows. It may be folded: a line end, CRLF or LF, with
        a blank behind it.
    :raises ValueError: it is no field: no name, a control character, a line end that nothing follows, or a line of
        more than `FIELD_LINE` octets.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header field")
    lines = _FOLD.split(value)
    if any(map(_CONTROL.search, lines)):
        raise ValueError(f"the value of {name} has a control character, or a line end that is no folding")
    try:
        octets = "".join((name, ": ", "\r\n".join(lines), "\r\n")).encode()
    except UnicodeEncodeError:
        raise ValueError(f"the value of {name} is no Unicode text") from None
    if max(map(len, octets.split(b"\r\n"))) > FIELD_LINE:
        raise ValueError(f"the value of {name} has a line of more than {FIELD_LINE} octets: fold it")
    return octets
