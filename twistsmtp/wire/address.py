"""Mailboxes: the value, its limits, and how one is read.

RFC 5321 sections 4.1.2 and 4.1.3 with the mailboxes of RFC 6531 section 3.3.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address

import idna

from twistsmtp.wire.abnf import (
    ADDRESS_LITERAL_TEXT,
    DOMAIN_TEXT,
    DOT_STRING,
    GENERAL_ADDRESS_LITERAL,
    IPV4_ADDRESS_LITERAL,
    IPV6_ADDR_TEXT,
    QUOTED_PAIR,
    QUOTED_STRING,
    SUB_DOMAIN,
    GrammarError,
)

__all__ = [
    "DEFAULT_LIMITS",
    "Mailbox",
    "PathLimits",
    "canonical_literal",
    "octets",
    "parse_mailbox",
    "scan_mailbox",
]

#: Characters of a label (RFC 1035 section 2.3.4); what DNS has of a U-label is longer than that label.
LABEL_LIMIT = 63

_IPV6_TAG = "ipv6:"
_NEEDS_QUOTED_PAIR = re.compile(r'["\\]')


@dataclass(frozen=True, slots=True)
class PathLimits:
    """The greatest lengths, in octets of UTF-8, that a path and its parts may have.

    :param local_part: as sent, with its quotes and backslashes (RFC 5321 section 4.5.3.1.1).
    :param domain: as sent, and as the A-labels that it stands for (section 4.5.3.1.2).
    :param path: as sent, with its angle brackets and source route (section 4.5.3.1.3).
    :raises ValueError: a limit is not positive: none of them can be turned off.
    """

    local_part: int = 64
    domain: int = 255
    path: int = 256
    #: A path of no more octets than this is within all limits, that of labels included.
    safe: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("local_part", "domain", "path"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name)}")
        object.__setattr__(self, "safe", min(self.local_part, self.domain, self.path, LABEL_LIMIT))


DEFAULT_LIMITS = PathLimits()


@dataclass(frozen=True, slots=True, init=False)
class Mailbox:
    """A mailbox. Those that are parsed hold no control characters, and their domain is a valid one.

    :param local: what the local part means: quotes and backslashes taken off, its case kept.
    :param domain: as sent, its case kept: a domain (U-labels stay U-labels), an address literal in its
        brackets, or ``""`` for the postmaster of whatever host this is.
    """

    local: str
    domain: str
    _text: str = field(init=False, repr=False, compare=False)

    def __init__(self, local: str, domain: str, text: str = "") -> None:
        """A mailbox, whose *text* is what `str` gives, where that is known already."""
        _set_local(self, local)
        _set_domain(self, domain)
        _set_text(self, text)

    @property
    def is_ascii(self) -> bool:
        """Whether a server without SMTPUTF8 (RFC 6531) could take this mailbox as it is."""
        return self.local.isascii() and self.domain.isascii()

    @property
    def is_literal(self) -> bool:
        """Whether the domain is an address literal (RFC 5321 section 4.1.3)."""
        return self.domain.startswith("[")

    @property
    def host(self) -> str:
        """The domain made comparable: in lower case, of A-labels, and a literal's address in its usual form.

        Nothing is raised; a domain that no parser would have let through is returned as it is.
        """
        if self.is_literal:
            literal = canonical_literal(self.domain[1:-1])
            return self.domain if literal is None else f"[{literal}]"
        if self.domain.isascii():
            return self.domain.lower()
        try:
            return _a_labels(self.domain)
        except UnicodeError:
            return self.domain

    def __str__(self) -> str:
        """The mailbox on the wire, without angle brackets, quoted no more than it must be."""
        if self._text:
            return self._text
        local = self.local
        if not DOT_STRING.fullmatch(local):
            local = '"' + _NEEDS_QUOTED_PAIR.sub(r"\\\g<0>", local) + '"'
        return f"{local}@{self.domain}" if self.domain else local


# A mailbox is made for each path that comes in. The __init__ that dataclass writes for a frozen class goes by
# `object.__setattr__`, which takes half as long again as setting the slots.
_set_local = Mailbox.__dict__["local"].__set__
_set_domain = Mailbox.__dict__["domain"].__set__
_set_text = Mailbox.__dict__["_text"].__set__


def parse_mailbox(text: str, limits: PathLimits = DEFAULT_LIMITS) -> Mailbox:
    """Read *text*, all of it, as a ``Mailbox``: no angle brackets, no blanks, and a domain.

    :raises GrammarError: 501 or 553: it is none, or longer than *limits* has it.
    """
    mailbox, end = scan_mailbox(text, 0, limits, "5.1.3")
    if end < len(text):
        raise stopped_short(mailbox, "5.1.3")
    if not mailbox.domain:
        raise no_domain("5.1.3")
    return mailbox


def scan_mailbox(text: str, start: int, limits: PathLimits, enhanced: str) -> tuple[Mailbox, int]:
    """Read a ``Mailbox``, or a ``Local-part`` with no ``@`` behind it, from *text* at *start*.

    :param enhanced: the enhanced status code of the errors.
    :returns: the mailbox, its domain ``""`` where there was no ``@``, and where in *text* it ends.
    :raises GrammarError: 501 or 553: there is none, or it is longer than *limits* has it.
    """
    local, end = _scan_local_part(text, start, limits, enhanced)
    if not text.startswith("@", end):
        return Mailbox(local, ""), end
    if text.startswith("[", end + 1):
        domain = _scan_address_literal(text, end + 1, limits, enhanced)
    else:
        domain = _scan_domain(text, end + 1, limits, enhanced)
    return Mailbox(local, domain), end + 1 + len(domain)


def stopped_short(mailbox: Mailbox, enhanced: str) -> GrammarError:
    """The error for a character that cannot stand where *mailbox*, as it was scanned, ends."""
    production = "Domain" if mailbox.domain else "Local-part"
    return GrammarError(production, 501, enhanced, f"Syntax: {production} is malformed")


def no_domain(enhanced: str) -> GrammarError:
    """The error for a local part without a domain."""
    return GrammarError("Mailbox", 553, enhanced, "Mailbox has no domain")


def octets(text: str) -> int:
    """How many octets *text* has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _scan_local_part(text: str, start: int, limits: PathLimits, enhanced: str) -> tuple[str, int]:
    quoted = text.startswith('"', start)
    match = (QUOTED_STRING if quoted else DOT_STRING).match(text, start)
    if match is None:
        raise GrammarError("Local-part", 501, enhanced, "Syntax: Local-part is malformed")
    if octets(match[0]) > limits.local_part:
        raise GrammarError("Local-part", 553, enhanced, "Local-part is too long")
    return QUOTED_PAIR.sub(r"\1", match[1]) if quoted else match[0], match.end()


def _scan_domain(text: str, start: int, limits: PathLimits, enhanced: str) -> str:
    match = DOMAIN_TEXT.match(text, start)
    if match is None:
        raise GrammarError("Domain", 501, enhanced, "Syntax: Domain is malformed")
    domain = match[0]
    # The lengths first: what IDNA costs may grow faster than they do.
    if octets(domain) > limits.domain:
        raise GrammarError("Domain", 553, enhanced, "Domain is too long")
    for label in domain.split("."):
        if not label or (label.isascii() and not SUB_DOMAIN.fullmatch(label)):
            raise GrammarError("Domain", 501, enhanced, "Syntax: Domain is malformed")
        if len(label) > LABEL_LIMIT:
            raise GrammarError("Domain", 553, enhanced, "Domain has a label that is too long")
    if not domain.isascii():
        try:
            in_dns = _a_labels(domain)
        except UnicodeError:
            raise GrammarError("Domain", 553, enhanced, "Domain is not valid under IDNA") from None
        if len(in_dns) > limits.domain:
            raise GrammarError("Domain", 553, enhanced, "Domain is too long")
    return domain


def _scan_address_literal(text: str, start: int, limits: PathLimits, enhanced: str) -> str:
    match = ADDRESS_LITERAL_TEXT.match(text, start)
    if match is None:
        raise GrammarError("address-literal", 501, enhanced, "Syntax: address-literal is malformed")
    if len(match[0]) > limits.domain:
        raise GrammarError("address-literal", 553, enhanced, "address-literal is too long")
    if canonical_literal(match[1]) is None:
        production = _literal_production(match[1])
        raise GrammarError(production, 501, enhanced, f"Syntax: {production} is malformed")
    return match[0]


def _literal_production(content: str) -> str:
    if content.lower().startswith(_IPV6_TAG):
        return "IPv6-address-literal"
    return "General-address-literal" if ":" in content else "IPv4-address-literal"


def canonical_literal(content: str) -> str | None:
    """The *content* of an address literal's brackets made comparable, or ``None`` if it is malformed.

    "::" may stand for a single group of zeros (RFC 4291 section 2.2), which RFC 5321 does not foresee.
    """
    production = _literal_production(content)
    if production == "IPv4-address-literal":
        if not IPV4_ADDRESS_LITERAL.fullmatch(content):
            return None
        return ".".join(str(int(number)) for number in content.split("."))
    if production == "General-address-literal":
        return content.lower() if GENERAL_ADDRESS_LITERAL.fullmatch(content) else None
    address = content[len(_IPV6_TAG) :]
    if not IPV6_ADDR_TEXT.fullmatch(address):
        return None
    try:
        return f"{_IPV6_TAG}{IPv6Address(address)}"
    except ValueError:
        return None


def _a_labels(domain: str) -> str:
    """*domain* as DNS has it.

    :raises UnicodeError: a label that is not ASCII is no U-label either.
    """
    return ".".join(label.lower() if label.isascii() else _a_label(label) for label in domain.split("."))


@lru_cache(maxsize=1024)
def _a_label(label: str) -> str:
    # UTS 46 lets a client leave the case and the width of characters as its user typed them. What it maps to
    # a dot is refused by `alabel`: in SMTP only "." parts labels.
    return idna.alabel(idna.uts46_remap(label)).decode("ascii")
