"""SMTP's productions as regular expressions, and the error that names the one that failed.

Each expression stands under the production that it is made from: RFC 5321's where no other RFC is named, of
its section 4.1.2 where no other section is. An expression whose name ends in ``_TEXT`` takes more than its
production; what it leaves open is said above it, and checked by the code that uses it.

Every repetition is possessive (``++``, ``*+``), so that nothing that has matched is ever given back: the time
taken is linear in the input, whatever a client sends.
"""

import re

__all__ = [
    "ADDRESS_LITERAL_TEXT",
    "ASCII_DOMAIN",
    "ASCII_DOT_STRING",
    "A_D_L_TEXT",
    "BLANKS_OR_END",
    "CONTROL",
    "DOMAIN_TEXT",
    "DOT_STRING",
    "ESMTP_KEYWORD",
    "ESMTP_PARAM",
    "GENERAL_ADDRESS_LITERAL",
    "HEXCHAR",
    "IPV4_ADDRESS_LITERAL",
    "IPV6_ADDR_TEXT",
    "QUOTED_PAIR",
    "QUOTED_STRING",
    "SUB_DOMAIN",
    "XTEXT",
    "GrammarError",
]


class GrammarError(ValueError):
    """What a client sent is not what a production asks for.

    :param production: the production that failed, by the RFC's name for it; ``"command"`` for a line as a
        whole.
    :param code: 500 for a line that is no command; 501 for a syntax error; 553 for a mailbox whose syntax is
        good and that cannot exist all the same (a limit, its domain); 555 for parameters that cannot be
        implemented.
    :param enhanced: the enhanced status code (RFC 3463), ``"5.1.3"``.
    :param text: a fixed sentence in printable ASCII that names the production; never what the client sent.
    """

    def __init__(self, production: str, code: int, enhanced: str, text: str) -> None:
        super().__init__(production, code, enhanced, text)
        self.production = production
        self.code = code
        self.enhanced = enhanced
        self.text = text

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


# What no text from a client may carry into a reply, a log line or a header field: control characters (C0,
# DEL, C1), Unicode's line and paragraph separators and its directional embeddings, overrides and isolates,
# which break or reorder the line that they stand in, and surrogates, which have no octets.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# RFC 6532 section 3.1
#   UTF8-non-ascii = UTF8-2 / UTF8-3 / UTF8-4
# but for the characters above.
_UTF8_NON_ASCII = "\u00a0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\U0010ffff"

# RFC 5322 section 3.2.3
#   atext = ALPHA / DIGIT / "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "/" / "=" / "?" / "^" /
#           "_" / "`" / "{" / "|" / "}" / "~"
# RFC 6531 section 3.3
#   atext =/ UTF8-non-ascii
_ASCII_ATEXT = r"A-Za-z0-9!#$%&'*+\-/=?^_`{|}~"
_ATEXT = _ASCII_ATEXT + _UTF8_NON_ASCII

# Dot-string = Atom *("."  Atom)
# Atom       = 1*atext
ASCII_DOT_STRING = rf"[{_ASCII_ATEXT}]++(?:\.[{_ASCII_ATEXT}]++)*+"
DOT_STRING = re.compile(rf"[{_ATEXT}]++(?:\.[{_ATEXT}]++)*+")

# qtextSMTP = %d32-33 / %d35-91 / %d93-126
#           ; any ASCII graphic or space is permitted without backslash-quoting except double-quote and the
#           ; backslash itself
# RFC 6531 section 3.3
#   qtextSMTP =/ UTF8-non-ascii
_QTEXT = r" !#-\[\]-~" + _UTF8_NON_ASCII

# quoted-pairSMTP = %d92 %d32-126
#                 ; i.e., backslash followed by any ASCII graphic (including itself) or SPace
QUOTED_PAIR = re.compile(r"\\([ -~])")

# Quoted-string = DQUOTE *QcontentSMTP DQUOTE
# QcontentSMTP  = qtextSMTP / quoted-pairSMTP
QUOTED_STRING = re.compile(rf'"((?:[{_QTEXT}]++|\\[ -~])*+)"')

# sub-domain = Let-dig [Ldh-str]
# Let-dig    = ALPHA / DIGIT
# Ldh-str    = *( ALPHA / DIGIT / "-" ) Let-dig
# The underscore counts as a Let-dig: the RFC forbids it in so many words, and names that have one are in use.
_LET_DIG = "[A-Za-z0-9_]"
SUB_DOMAIN = re.compile(rf"{_LET_DIG}++(?:-++{_LET_DIG}++)*+")

# Domain = sub-domain *("." sub-domain)
# The same language written flat: behind a run of Let-digs comes a dot, or hyphens, and another run.
ASCII_DOMAIN = rf"{_LET_DIG}++(?:(?:\.|-++){_LET_DIG}++)*+"

# RFC 6531 section 3.3
#   sub-domain =/ U-label
# How the labels follow each other, their lengths (RFC 1035 section 2.3.4) and what makes a U-label (RFC 5890
# section 2.3.2.1) are left open.
_DOMAIN_TEXT = rf"[A-Za-z0-9_.\-{_UTF8_NON_ASCII}]++"
DOMAIN_TEXT = re.compile(_DOMAIN_TEXT)

# A-d-l     = At-domain *( "," At-domain )
#           ; Note that this form, the so-called "source route", MUST BE accepted, SHOULD NOT be generated,
#           ; and SHOULD be ignored.
# At-domain = "@" Domain
# With the ":" that Path has behind it. These domains are dropped, so what DOMAIN_TEXT leaves open stays open.
A_D_L_TEXT = re.compile(rf"@{_DOMAIN_TEXT}(?:,@{_DOMAIN_TEXT})*+:")

# address-literal = "[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"
# Section 4.1.3
#   dcontent = %d33-90 / ; Printable US-ASCII
#              %d94-126  ; excl. "[", "\", "]"
# Which of the three it is, and whether that one is well formed, is left open.
_DCONTENT = "[!-Z^-~]"
ADDRESS_LITERAL_TEXT = re.compile(rf"\[({_DCONTENT}++)\]")

# Section 4.1.3
#   IPv4-address-literal = Snum 3("."  Snum)
#   Snum                 = 1*3DIGIT
#                        ; representing a decimal integer value in the range 0 through 255
_SNUM = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
IPV4_ADDRESS_LITERAL = re.compile(rf"{_SNUM}(?:\.{_SNUM}){{3}}")

# Section 4.1.3
#   IPv6-address-literal = "IPv6:" IPv6-addr
#   IPv6-addr            = IPv6-full / IPv6-comp / IPv6v4-full / IPv6v4-comp
# The four forms are left to `ipaddress`, which would take a zone ("%eth0") as well, if this let one through.
IPV6_ADDR_TEXT = re.compile("[0-9A-Fa-f:.]++")

# Section 4.1.3
#   General-address-literal = Standardized-tag ":" 1*dcontent
#   Standardized-tag        = Ldh-str
GENERAL_ADDRESS_LITERAL = re.compile(rf"-*+[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+:{_DCONTENT}++")

# esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
_ESMTP_KEYWORD = r"[A-Za-z0-9][A-Za-z0-9\-]*+"
ESMTP_KEYWORD = re.compile(_ESMTP_KEYWORD)

# esmtp-value = 1*(%d33-60 / %d62-126)
#             ; any CHAR excluding "=", SP, and control characters.
# RFC 6531 section 3.3
#   esmtp-value =/ UTF8-non-ascii
_ESMTP_VALUE = rf"[!-<>-~{_UTF8_NON_ASCII}]++"

# Mail-parameters = esmtp-param *(SP esmtp-param)
# Rcpt-parameters = esmtp-param *(SP esmtp-param)
# esmtp-param     = esmtp-keyword ["=" esmtp-value]
# One of them and what follows it, which may be more blanks than one.
_BLANKS_OR_END = r"(?:[ \t]++|\Z)"
BLANKS_OR_END = re.compile(_BLANKS_OR_END)
ESMTP_PARAM = re.compile(rf"({_ESMTP_KEYWORD})(?:=({_ESMTP_VALUE}))?+{_BLANKS_OR_END}")

# RFC 3461 section 4
#   xtext   = *( xchar / hexchar )
#   xchar   = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "=".
#   hexchar = ASCII "+" immediately followed by two upper case hexadecimal digits
HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
XTEXT = re.compile(r"(?:[!-*,-<>-~]++|\+[0-9A-F]{2})*+")
