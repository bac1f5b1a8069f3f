"""What the far side offers: its reply to EHLO or LHLO (RFC 5321 section 4.1.1.1), read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from twistsmtp.wire.reply import Reply

__all__ = ["Capabilities"]

# ehlo-line    = ehlo-keyword *( SP ehlo-param )
# ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
# Old servers have "AUTH=LOGIN PLAIN" as well.
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:[ =](.*))?")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server offers.

    :param keywords: the text behind each keyword, which is in upper case.
    """

    #: What it calls itself.
    domain: str = ""
    keywords: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, reply: Reply) -> "Capabilities":
        """Those in the *reply* to EHLO or LHLO. A line that is none is passed over."""
        first, *rest = reply.text.split("\n")
        keywords: dict[str, str] = {}
        for match in filter(None, map(_LINE.fullmatch, rest)):
            keyword, text = match[1].upper(), (match[2] or "").strip()
            keywords[keyword] = f"{keywords[keyword]} {text}" if keywords.get(keyword) else text
        return cls(first.partition(" ")[0], keywords)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    @property
    def size(self) -> int | None:
        """Octets of the greatest message (RFC 1870); ``None`` where it does not say, or has no limit."""
        text = self.keywords.get("SIZE", "")
        return (int(text) or None) if _is_number(text) else None

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms (RFC 4954), in upper case, in the server's order."""
        return tuple(dict.fromkeys(self.keywords.get("AUTH", "").upper().split()))

    def limit(self, name: str) -> int | None:
        """A limit by RFC 9422: ``"RCPTMAX"``, ``"MAILMAX"``; ``None`` where it does not say."""
        for each in self.keywords.get("LIMITS", "").upper().split():
            key, _, value = each.partition("=")
            if key == name and _is_number(value):
                return int(value) or None
        return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20
