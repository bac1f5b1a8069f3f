"""SMTP's commands (RFC 5321 section 4.1): the line, and the arguments of HELO, EHLO, MAIL and RCPT.

Text comes in, values come out, and what is refused is refused by a `GrammarError` that names the production.
The grammar is strict but for what deployed clients need: any case of verbs and keywords, blanks around a path
and at the end of a line, a mailbox without angle brackets, underscores in host names. UTF-8 is read wherever
RFC 6531 has it; whether this client may send it is for the caller to ask, by `Mailbox.is_ascii`.

What almost every client sends takes a short way through each function; all else takes the long one, which
reads the text piece by piece and so knows which production fails.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address

from twistsmtp.wire.abnf import (
    A_D_L_TEXT,
    ASCII_DOMAIN,
    ASCII_DOT_STRING,
    BLANKS_OR_END,
    CONTROL,
    ESMTP_KEYWORD,
    ESMTP_PARAM,
    GrammarError,
)
from twistsmtp.wire.address import (
    DEFAULT_LIMITS,
    LABEL_LIMIT,
    Mailbox,
    PathLimits,
    canonical_literal,
    no_domain,
    octets,
    parse_mailbox,
    scan_mailbox,
    stopped_short,
)
from twistsmtp.wire.xtext import decode_xtext, decode_xtext_octets, encode_xtext, encode_xtext_octets

__all__ = [
    "GrammarError",
    "Mailbox",
    "PathLimits",
    "decode_xtext",
    "decode_xtext_octets",
    "encode_xtext",
    "encode_xtext_octets",
    "parse_forward_path",
    "parse_hello",
    "parse_mailbox",
    "parse_parameters",
    "parse_reverse_path",
    "split_command",
]

#: Parameters of one MAIL or RCPT; all that are registered are fewer.
PARAMETER_LIMIT = 32
#: Octets of the name in HELO and EHLO (RFC 5321 section 4.5.3.1.2).
HELLO_LIMIT = 255

# --- the command line --------------------------------------------------------------------------------------

_COMMAND = re.compile(r"([^ \t]++)[ \t]*+(.*+)", re.DOTALL)


def split_command(line: bytes) -> tuple[str, str]:
    """A command line, without its CRLF, as its verb in upper case and its argument without blanks around it.

    The verb is all that stands before the first space or tab: whether there is such a verb is not asked here.

    :raises GrammarError: 500: there is no verb, the line is not UTF-8, or it has a control character (a bare
        CR or LF is one) other than a tab.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise GrammarError("command", 500, "5.5.2", "Syntax: a command must be UTF-8") from None
    if text.isascii() and text.isprintable():
        verb, _, argument = text.partition(" ")
        if verb:
            return verb.upper(), argument.strip()
    if CONTROL.search(text.replace("\t", "")):
        raise GrammarError("command", 500, "5.5.2", "Syntax: a command must have no control characters")
    match = _COMMAND.match(text)
    if match is None:
        raise GrammarError("command", 500, "5.5.2", "Syntax: a command must begin with a verb")
    verb, argument = match.groups()
    # Upper case makes ASCII of characters that are not: a dotless "i" must not become the "I" of MAIL.
    return verb.upper() if verb.isascii() else verb, argument.rstrip(" \t")


# --- paths -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Side:
    """What tells the two kinds of path apart."""

    production: str
    #: Of a bad address (RFC 3463 section 3.2): 5.1.7 for a sender's, 5.1.3 for a recipient's.
    enhanced: str
    syntax: str
    #: What stands before the path.
    keyword: re.Pattern[str]
    postmaster: bool


_REVERSE = _Side(
    "Reverse-path",
    "5.1.7",
    "Syntax: MAIL FROM:<Reverse-path> [SP Mail-parameters]",
    re.compile(r"[ \t]*+[Ff][Rr][Oo][Mm][ \t]*+:[ \t]*+"),
    postmaster=False,
)
_FORWARD = _Side(
    "Forward-path",
    "5.1.3",
    "Syntax: RCPT TO:<Forward-path> [SP Rcpt-parameters]",
    re.compile(r"[ \t]*+[Tt][Oo][ \t]*+:[ \t]*+"),
    postmaster=True,
)

# Reverse-path = Path / "<>"
# Forward-path = Path
# Path         = "<" [ A-d-l ":" ] Mailbox ">"
# Without A-d-l, of Mailbox only Dot-string "@" Domain, and all ASCII; with the blank that many clients put before it.
# What stands before the ">", that is: a mailbox of this kind has none.
_COMMON_PATH = rf" ?+<(({ASCII_DOT_STRING})@({ASCII_DOMAIN}))"
_COMMON_REVERSE_PATH = re.compile(rf"[Ff][Rr][Oo][Mm]:{_COMMON_PATH}")
_COMMON_FORWARD_PATH = re.compile(rf"[Tt][Oo]:{_COMMON_PATH}")
_NULL_REVERSE_PATH = re.compile(rf"{_REVERSE.keyword.pattern}<>{BLANKS_OR_END.pattern}")

#: Paths of each kind whose mailboxes are kept: most of the mail of a server is from and to the same few.
REMEMBERED = 1024


def parse_reverse_path(argument: str, limits: PathLimits = DEFAULT_LIMITS) -> tuple[Mailbox | None, str]:
    """The argument of MAIL (RFC 5321 section 4.1.1.2) as a mailbox and the text of the parameters.

    The mailbox of the null reverse-path ``<>`` is ``None``.

    :raises GrammarError: 501 or 553: the path is none, or longer than *limits* has it.
    """
    path, end, rest = argument.partition(">")
    mailbox = _common_sender(path) if end and rest[:1] in _BLANK_OR_END else None
    if mailbox is not None and (len(path) <= limits.safe or _within(limits, mailbox)):
        return mailbox, rest.lstrip(" \t")
    match = _NULL_REVERSE_PATH.match(argument)
    if match is not None:
        return None, argument[match.end() :]
    return _parse_path(argument, _REVERSE, limits)


def parse_forward_path(argument: str, limits: PathLimits = DEFAULT_LIMITS) -> tuple[Mailbox, str]:
    """The argument of RCPT (RFC 5321 section 4.1.1.3) as a mailbox and the text of the parameters.

    ``<postmaster>``, in any case, is the one mailbox that needs no domain.

    :raises GrammarError: 501 or 553: the path is none, or longer than *limits* has it.
    """
    path, end, rest = argument.partition(">")
    mailbox = _common_recipient(path) if end and rest[:1] in _BLANK_OR_END else None
    if mailbox is not None and (len(path) <= limits.safe or _within(limits, mailbox)):
        return mailbox, rest.lstrip(" \t")
    return _parse_path(argument, _FORWARD, limits)


_BLANK_OR_END = ("", " ", "\t")


@lru_cache(REMEMBERED)
def _common_sender(path: str) -> Mailbox | None:
    return _common_mailbox(_COMMON_REVERSE_PATH.fullmatch(path))


@lru_cache(REMEMBERED)
def _common_recipient(path: str) -> Mailbox | None:
    return _common_mailbox(_COMMON_FORWARD_PATH.fullmatch(path))


def _common_mailbox(match: re.Match[str] | None) -> Mailbox | None:
    if match is None:
        return None
    text, local, domain = match.groups()
    return Mailbox(local, domain, text)


def _within(limits: PathLimits, mailbox: Mailbox) -> bool:
    local, domain = len(mailbox.local), len(mailbox.domain)
    # A domain no longer than a label may be has no label that is too long; the long way looks at each.
    return (
        domain <= LABEL_LIMIT
        and domain <= limits.domain
        and local <= limits.local_part
        and local + domain + len("<@>") <= limits.path
    )


def _parse_path(argument: str, side: _Side, limits: PathLimits) -> tuple[Mailbox, str]:
    keyword = side.keyword.match(argument)
    if keyword is None or keyword.end() == len(argument):
        raise GrammarError(side.production, 501, "5.5.4", side.syntax)
    mailbox, start, end = _scan_path(argument, keyword.end(), side, limits)
    after = BLANKS_OR_END.match(argument, end)
    if after is None:
        raise _malformed(side)
    brackets = 0 if argument.startswith("<", start) else len("<>")
    if octets(argument[start:end]) + brackets > limits.path:
        raise GrammarError(side.production, 553, side.enhanced, f"{side.production} is too long")
    if not mailbox.domain and not (side.postmaster and mailbox.local.lower() == "postmaster"):
        raise no_domain(side.enhanced)
    return mailbox, argument[after.end() :]


def _scan_path(text: str, start: int, side: _Side, limits: PathLimits) -> tuple[Mailbox, int, int]:
    """The mailbox of the path at *start*, and where the path starts and ends."""
    bracketed = text.startswith("<", start)
    inside = start + bracketed
    if bracketed and text.startswith("@", inside):
        route = A_D_L_TEXT.match(text, inside)
        if route is None:
            raise GrammarError("A-d-l", 501, side.enhanced, "Syntax: A-d-l, the source route, is malformed")
        inside = route.end()
    if text[inside : inside + 1] in ("", "<", ">"):
        raise _malformed(side)
    mailbox, end = scan_mailbox(text, inside, limits, side.enhanced)
    follower = text[end : end + 1]
    if bracketed and follower == ">":
        return mailbox, start, end + 1
    if follower not in ("", " ", "\t", "<", ">"):
        raise stopped_short(mailbox, side.enhanced)
    if bracketed or follower in ("<", ">"):
        raise _malformed(side)
    return mailbox, start, end


def _malformed(side: _Side) -> GrammarError:
    return GrammarError(side.production, 501, side.enhanced, f"Syntax: {side.production} is malformed")


# --- parameters --------------------------------------------------------------------------------------------


def parse_parameters(text: str) -> tuple[tuple[str, str | None], ...]:
    """The parameters of MAIL or RCPT (RFC 5321 section 4.1.2) as pairs of a keyword and a value.

    Keywords are in upper case, values just as they were sent; a keyword without "=" has the value ``None``.

    :raises GrammarError: 501: a keyword or a value is malformed, or a keyword comes twice; 555: there are
        more than `PARAMETER_LIMIT`.
    """
    if not text:
        return ()
    parameters: dict[str, str | None] = {}
    text = text.lstrip(" \t")
    position = 0
    while position < len(text):
        match = ESMTP_PARAM.match(text, position)
        if match is None:
            raise _bad_parameter(text, position)
        keyword, value = match.groups()
        keyword = keyword.upper()
        if keyword in parameters:
            raise GrammarError("esmtp-param", 501, "5.5.4", "Syntax: an esmtp-param may stand only once")
        if len(parameters) == PARAMETER_LIMIT:
            raise GrammarError("esmtp-param", 555, "5.5.4", "Too many of esmtp-param")
        parameters[keyword] = value
        position = match.end()
    return tuple(parameters.items())


def _bad_parameter(text: str, position: int) -> GrammarError:
    keyword = ESMTP_KEYWORD.match(text, position)
    has_value = keyword is not None and text.startswith("=", keyword.end())
    production = "esmtp-value" if has_value else "esmtp-keyword"
    return GrammarError(production, 501, "5.5.4", f"Syntax: {production} is malformed")


# --- HELO and EHLO -----------------------------------------------------------------------------------------

# ehlo = "EHLO" SP ( Domain / address-literal ) CRLF
# helo = "HELO" SP Domain CRLF
# The name is for the log and for Received alone. Deployed clients call themselves what their owners call
# their machines, so letters, digits, hyphens and underscores make a label in whatever order they come.
_HELLO_LABEL = rf"[A-Za-z0-9_\-]{{1,{LABEL_LIMIT}}}+"
_HELLO_NAME = re.compile(rf"({_HELLO_LABEL}(?:\.{_HELLO_LABEL})*+)\.?")
_HELLO_LITERAL = re.compile(r"\[([A-Za-z0-9:.\-]++)\]")


def parse_hello(argument: str) -> str:
    """The argument of HELO or EHLO (RFC 5321 section 4.1.1.1): a domain, or an address literal as it was sent.

    A dot at the domain's end is taken off. The name is ASCII, as RFC 6531 section 3.7.1 asks, and has no blanks
    and none of the characters that mean something in a header field.

    :raises GrammarError: 501: it is neither, or has more than `HELLO_LIMIT` octets.
    """
    name = argument.strip(" \t")
    if not name:
        raise GrammarError("Domain", 501, "5.5.4", "Syntax: EHLO or HELO, SP, Domain")
    if not name.isascii():
        raise GrammarError("Domain", 501, "5.6.7", "Domain must be ASCII in EHLO and HELO")
    if len(name) > HELLO_LIMIT:
        raise GrammarError("Domain", 501, "5.5.4", "Domain is too long")
    match = _HELLO_NAME.fullmatch(name)
    if match is not None:
        return match[1]
    match = _HELLO_LITERAL.fullmatch(name)
    if match is None:
        raise GrammarError("Domain", 501, "5.5.4", "Syntax: Domain is malformed")
    if canonical_literal(match[1]) is None and not _is_ipv6(match[1]):
        raise GrammarError("address-literal", 501, "5.5.4", "Syntax: address-literal is malformed")
    return name


def _is_ipv6(text: str) -> bool:
    # Clients that forget the tag "IPv6:".
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
