"""DSN (RFC 3461): what is to be reported to the sender about each recipient, and what the reports are to hold.

What was asked for is kept for the delivery, which reports, or passes the request on. To be passed on, the values stand
in `ReversePath.options` and `Recipient.options` just as they were sent (section 5.2.1).
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from twistsmtp.envelope import Parameter
from twistsmtp.session import Session
from twistsmtp.verb import Extension, honoured
from twistsmtp.wire.abnf import CONTROL
from twistsmtp.wire.grammar import GrammarError, decode_xtext
from twistsmtp.wire.reply import Refusal

__all__ = ["ENVID", "NOTIFY", "ORCPT", "RET", "Notify", "OriginalRecipient", "Return", "extension"]

#: Octets of the values of ENVID and ORCPT (sections 4.2, 4.4 and 5.4).
ENVID_LIMIT = 100
ORCPT_LIMIT = 500

_usable = honoured("dsn")


class Return(StrEnum):
    """What of the message a report of a failure brings back (section 4.3)."""

    FULL = "FULL"
    HDRS = "HDRS"


class Notify(StrEnum):
    """What the sender wants to be told of (section 4.1). NEVER stands alone."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


@dataclass(frozen=True, slots=True)
class OriginalRecipient:
    """Whom the sender wrote to, whatever has become of that address on its way (section 4.2).

    :param type: the type of the address in lower case: ``"rfc822"``, ``"utf-8"`` (RFC 6533), ``"x400"``.
    :param address: the address, decoded, its case kept: printable ASCII, and any characters but controls where the
        type is ``"utf-8"``. It need not be an address by the rules of its type.
    """

    type: str
    address: str


def _upper(value: str | None) -> str:
    # Upper case makes ASCII of characters that are not.
    return value.upper() if value is not None and value.isascii() else ""


def _parse_ret(session: Session, value: str | None) -> Return:
    try:
        return Return(_upper(value))
    except ValueError:
        raise GrammarError("RET", 501, "5.5.4", "RET is FULL or HDRS") from None


def _parse_envid(session: Session, value: str | None) -> str:
    if value is None or len(value) > ENVID_LIMIT:
        raise GrammarError("envid-parameter", 501, "5.5.4", f"ENVID is xtext of at most {ENVID_LIMIT} characters")
    return decode_xtext(value)


# notify-esmtp-value  = "NEVER" / 1#notify-list-element
# notify-list-element = "SUCCESS" / "FAILURE" / "DELAY"
def _parse_notify(session: Session, value: str | None) -> frozenset[Notify]:
    words = _upper(value).split(",")
    try:
        asked = frozenset(map(Notify, words))
    except ValueError:
        asked = frozenset()
    if not asked or (Notify.NEVER in asked and len(words) > 1):
        raise GrammarError("notify-esmtp-value", 501, "5.5.4", "NOTIFY is NEVER, or of SUCCESS, FAILURE and DELAY")
    return asked


# orcpt-parameter            = "ORCPT=" original-recipient-address
# original-recipient-address = addr-type ";" xtext
# addr-type                  = atom
# The atom is RFC 822's: printable ASCII but for its specials.
_ORIGINAL = re.compile(r"([!#-'*+\-/0-9=?A-Z^-~]++);(.++)", re.DOTALL)


def _parse_orcpt(session: Session, value: str | None) -> OriginalRecipient:
    match = _ORIGINAL.fullmatch(value or "")
    if match is None or len(match[0].encode()) > ORCPT_LIMIT:
        text = f"ORCPT is a type, ; and an address in xtext, of at most {ORCPT_LIMIT} octets"
        raise GrammarError("orcpt-parameter", 501, "5.5.4", text)
    kind = match[1].lower()
    if kind != "utf-8":
        return OriginalRecipient(kind, decode_xtext(match[2]))
    if not (match[2].isascii() or session.current.reverse_path.internationalized):
        raise Refusal(session.replies.smtputf8_needed)  # RFC 6533 section 3: unitext is for SMTPUTF8 alone
    return OriginalRecipient(kind, _decode_utf8_address(match[2]))


# RFC 6533 section 3
#   utf-8-enc-addr      = utf-8-addr-xtext / utf-8-addr-unitext / utf-8-address
#   utf-8-addr-xtext    = 1*(QCHAR / EmbeddedUnicodeChar)
#   utf-8-addr-unitext  = 1*(QUCHAR / EmbeddedUnicodeChar)
#   QCHAR               = %x21-2a / %x2c-3c / %x3e-5b / %x5d-7e
#   QUCHAR              = QCHAR / UTF8-2 / UTF8-3 / UTF8-4
#   EmbeddedUnicodeChar = %x5C.78 "{" HEXPOINT "}"
#   HEXPOINT            = ( ( "0"/"1" ) %x31-39 ) / "10" / "20" / "2B" / "3D" / "7F" / "5C" / (HEXDIG8 HEXDIG) /
#                         ( NZHEXDIG 2(HEXDIG) ) / ( NZDHEXDIG 3(HEXDIG) ) / ( "D" %x30-37 2(HEXDIG) ) /
#                         ( NZHEXDIG 4(HEXDIG) ) / ( "10" 4*HEXDIG )
# HEXPOINT is left without the controls, which no address has a use for, and which would harm whoever prints it. The
# surrogates that the expression lets through are controls as well.
_EMBEDDED = re.compile(r"\\x\{(20|2B|3D|5C|[89A-F][0-9A-F]|[1-9A-F][0-9A-F]{2,4}|10[0-9A-F]{4})\}", re.IGNORECASE)
_UNITEXT = re.compile(rf"(?:[^\x00- +=\\\x7f]++|{_EMBEDDED.pattern})++", re.IGNORECASE)


def _decode_utf8_address(text: str) -> str:
    if _UNITEXT.fullmatch(text):
        address = _EMBEDDED.sub(lambda match: chr(int(match[1], 16)), text)
        if not CONTROL.search(address):
            return address
    raise GrammarError("utf-8-enc-addr", 501, "5.5.4", "Syntax: utf-8-enc-addr is malformed")


#: ``reverse_path.get(RET)``; ``None`` where the sender leaves it to the server.
RET: Parameter[Return | None] = Parameter(
    keyword="RET", parse=_parse_ret, default=None, octets=len(" RET=FULL"), usable=_usable
)
#: ``reverse_path.get(ENVID)``: what the sender knows the transaction by, decoded: printable ASCII, its case kept.
ENVID: Parameter[str | None] = Parameter(
    keyword="ENVID", parse=_parse_envid, default=None, octets=len(" ENVID=") + ENVID_LIMIT, usable=_usable
)
#: ``recipient.get(NOTIFY)``; ``None`` where the client did not say, which stands for FAILURE, or FAILURE and DELAY.
NOTIFY: Parameter[frozenset[Notify] | None] = Parameter(
    keyword="NOTIFY",
    parse=_parse_notify,
    default=None,
    octets=len(" NOTIFY=SUCCESS,FAILURE,DELAY"),
    usable=_usable,
)
#: ``recipient.get(ORCPT)``.
ORCPT: Parameter[OriginalRecipient | None] = Parameter(
    keyword="ORCPT", parse=_parse_orcpt, default=None, octets=len(" ORCPT=") + ORCPT_LIMIT, usable=_usable
)


def extension() -> Extension:
    """All that it adds."""
    return Extension(
        name="dsn",
        rfc="RFC 3461",
        keyword="DSN",
        usable=_usable,
        mail_parameters=(RET, ENVID),
        rcpt_parameters=(NOTIFY, ORCPT),
    )
