"""HELO sanity: clients that say of themselves what cannot be.

A client may call itself what it likes, as far as it is a name at all (which the grammar asks of everybody), and RFC
5321 section 4.1.4 forbids to refuse one because its name does not lead to its address. But some names are wrong by
what they are, and nobody says them but programs that send spam, and a few that are broken:

* the server's own name, or the address that the client has connected to, which is the first that anybody tries who has
  nothing else;
* an IP address without brackets, as RFC 5321 section 4.1.3 wants them.

To be strict is to refuse more, which some honest servers have, too: a name without a dot, and an address in brackets
that is not the client's, as those have that do not know that they are behind NAT.

It is asked at MAIL, and not when the name comes: programs of users have the oddest names, and the client may still
prove to be one. At MAIL that is known, as there is no AUTH within a transaction (RFC 4954 section 4).
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from twistsmtp.envelope import ReversePath
from twistsmtp.makers import several, yes_or_no
from twistsmtp.policy.api import Policy
from twistsmtp.policy.strangers import Strangers
from twistsmtp.session import Session
from twistsmtp.wire.reply import Refusal

__all__ = ["HeloSanity"]

_TAG = "ipv6:"


class HeloSanity(Policy):
    """Refuses clients by the name that they have given in HELO or EHLO. Users, local clients and those of LMTP may say
    what they like.

    :param strict: whether a name without a dot, and another's address in brackets, are refused as well.
    :param own: names and IP addresses that the server goes by, besides its hostname and the address that the client has
        connected to: those that it has behind NAT, for one.
    :param trusted: networks whose clients may say what they like.
    :raises ValueError: one of *trusted* is no network.
    """

    def __init__(self, *, strict: bool = False, own: Iterable[str] = (), trusted: Iterable[str] = ()) -> None:
        self.strict = strict
        self._own = frozenset(_comparable(name) for name in own)
        self._strangers = Strangers(trusted)

    @classmethod
    def from_options(cls, *, strict: str = "no", own: str = "", trusted: str = "") -> "HeloSanity":
        """What ``helo[:strict=yes][:own=NAMES][:trusted=NETWORKS]`` means."""
        return cls(strict=yes_or_no("strict", strict), own=several(own), trusted=several(trusted))

    def mail(self, session: Session, reverse_path: ReversePath) -> None:
        """Refuse the client of *session* if its name is not right."""
        if session.helo is None or session.lmtp or session not in self._strangers:
            return
        reason = self._what_is_wrong(session, session.helo)
        if reason:
            raise Refusal(session.replies.hello_refused.fill(name=session.helo, reason=reason))

    def _what_is_wrong(self, session: Session, helo: str) -> str:
        name = _comparable(helo)
        if name in self._own or name in (_comparable(session.hostname), _comparable(session.host)):
            return "that is this server"
        bracketed = helo.startswith("[")
        if not bracketed and isinstance(name, (IPv4Address, IPv6Address)):
            return "an address stands in brackets there"
        if self.strict and bracketed and name != _comparable(session.client.partition("%")[0]):
            return "that is not your address"
        if self.strict and not bracketed and "." not in helo:
            return "that is no full host name"
        return ""


def _comparable(name: str) -> str | IPv4Address | IPv6Address:
    """A name in lower case, or the address that *name* is, in whatever brackets."""
    name = name.lower().rstrip(".")
    text = name[1:-1].removeprefix(_TAG) if name.startswith("[") else name
    try:
        return ip_address(text)
    except ValueError:
        return name
