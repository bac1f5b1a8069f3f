"""Whom policies against spam are for: clients somewhere in the Internet, that have not authenticated."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from twistsmtp.clients import Networks
from twistsmtp.policy.user import user_of
from twistsmtp.session import Session

__all__ = ["LOCAL", "Strangers"]

#: Networks that nobody comes from by way of the Internet: this machine's, and the private ones (RFC 1918, RFC 3927,
#: RFC 6598, RFC 4193, RFC 4291).
LOCAL = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fe80::/10",
    "fc00::/7",
)


class Strangers:
    """Clients that are neither trusted, nor local, nor users. One of LMTP is a mail server that has asked its own.

    :param trusted: networks and addresses that are none, besides `LOCAL`.
    :raises ValueError: one of them is no network.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._others = Networks((*LOCAL, *trusted))

    def address(self, session: Session) -> IPv4Address | IPv6Address | None:
        """The client's address, if it is not trusted by that; ``None`` as well where it has none that is known."""
        if session.lmtp or session.peer in self._others:
            return None
        try:
            return ip_address(session.client.partition("%")[0])
        except ValueError:
            return None

    def __contains__(self, session: object) -> bool:
        """Whether the client of *session* is one of them, as far as is known by now."""
        return isinstance(session, Session) and user_of(session) is None and self.address(session) is not None
