"""Reverse DNS: the name of a client's address, and whether the name has that address.

Whoever has an address can give it any name. So a name counts when it leads back to the address (RFC 8601 section 3,
"iprev"). The name is looked up when a client connects, while the session goes on; MAIL waits for it. It is then in
``session.annotations["reverse-dns"]`` for policies behind it, a `ReverseName`.

To refuse clients by it is something else, and is off unless it is asked for: there are honest servers without a name.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twistsmtp.envelope import Recipient, ReversePath
from twistsmtp.later import Later, awaited, then
from twistsmtp.makers import number, several, yes_or_no
from twistsmtp.policy.api import Policy
from twistsmtp.policy.dns import DNS, Address, Joined, NoAnswer, parse_server, together
from twistsmtp.policy.strangers import Strangers
from twistsmtp.policy.user import user_of
from twistsmtp.session import Session
from twistsmtp.wire.reply import Refusal, Reply

__all__ = ["KEY", "ReverseDNS", "ReverseName", "Standing", "Wanted", "reverse_name"]

_log = Logger(namespace="twistsmtp.policy")

#: Where the session's annotations have the `ReverseName`.
KEY = "reverse-dns"

#: Seconds for two questions, one behind the other: for the names, and for their addresses.
_TIME = 5.0
#: Names of one address that are looked at.
_NAMES = 5

#: A host name: letters, digits, hyphens and, as they are there, underscores; a last label of digits is an address.
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+(?=[^.]*[a-z])[a-z0-9-]{1,63}")


class Standing(Enum):
    """What is known of the name of an address."""

    #: It has one that leads back to it.
    CONFIRMED = "confirmed"
    #: It has one, and none leads back to it.
    UNCONFIRMED = "unconfirmed"
    #: It has none.
    MISSING = "missing"
    #: The DNS could not tell.
    UNKNOWN = "unknown"


class Wanted(Enum):
    """What a client needs."""

    NOTHING = "nothing"
    NAME = "name"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class ReverseName:
    """The name of an address, as the DNS has it."""

    standing: Standing
    #: In lower case: the one that leads back; ``None`` where there is no such.
    name: str | None = None
    #: All that the address has, as far as they are names of hosts.
    claimed: tuple[str, ...] = ()


def reverse_name(session: Session) -> ReverseName | None:
    """What `ReverseDNS` has found out about the client: from MAIL on, and ``None`` for one that it does not look up."""
    found: ReverseName | None = session.annotations.get(KEY)
    return found


class ReverseDNS(Policy):
    """Looks the client's name up, and refuses clients that have none, if that is wanted.

    Users are not refused, nor are clients that are trusted or whose address is a private one; these are not looked up.
    Where the DNS cannot tell, ``on_failure`` says what becomes of a client that needs a name: it is deferred by
    450 4.7.25, or passes.

    :param wanted: what clients need. Others are refused by 550 5.7.25.
    :param defer: defer them by 450 4.7.25 in its place, so that a mistake can be mended before mail is lost.
    :param dns: how the DNS is asked: at most twice, one question behind the other.
    :param trusted: networks whose clients are not looked up.
    :raises ValueError: one of *trusted* is no network.
    """

    def __init__(
        self,
        wanted: Wanted = Wanted.NOTHING,
        *,
        defer: bool = False,
        dns: DNS | None = None,
        trusted: Iterable[str] = (),
    ) -> None:
        self._wanted = wanted
        self._defer = defer
        self._dns = DNS(time_limit=_TIME / 2) if dns is None else dns
        self._strangers = Strangers(trusted)
        self._key = f"{KEY} {id(self):x}"

    @classmethod
    def from_options(
        cls,
        *,
        require: str = "nothing",
        defer: str = "no",
        timeout: str = f"{_TIME:g}",
        server: str = "",
        trusted: str = "",
    ) -> "ReverseDNS":
        """The policy that the parts of a string describe.

        :raises ValueError: they describe none.
        """
        try:
            wanted = Wanted(require)
        except ValueError:
            names = ", ".join(each.value for each in Wanted)
            raise ValueError(f"require is one of {names}, not {require!r}") from None
        return cls(
            wanted,
            defer=yes_or_no("defer", defer),
            dns=DNS(servers=[parse_server(server)] if server else (), time_limit=number("timeout", timeout) / 2),
            trusted=several(trusted),
        )

    def connect(self, session: Session) -> None:
        """Ask for the client's name, and wait for nothing."""
        for key in KEY, self._key:
            session.annotations.pop(key, None)
        address = self._strangers.address(session)
        if address is not None:
            asked = session.annotations[self._key] = Joined(Deferred.fromCoroutine(self._look_up(address)))
            session.at_end(asked.cancel)

    def mail(self, session: Session, reverse_path: ReversePath) -> Later[None]:
        """Wait for the name."""
        asked: Joined[ReverseName] | None = session.annotations.get(self._key)
        if asked is None or KEY in session.annotations:
            return None

        def keep(found: ReverseName) -> None:
            session.annotations[KEY] = found
            session.client_name = found.name

        return then(asked.wait(), keep)

    def rcpt(self, session: Session, recipient: Recipient) -> None:
        """Refuse *recipient*, if the client has not the name that it needs."""
        found = reverse_name(session)
        if found is None or self._wanted is Wanted.NOTHING or user_of(session) is not None:
            return
        if found.standing is Standing.UNKNOWN:
            if self.on_failure == "defer":
                raise Refusal(session.replies.reverse_dns_unknown.fill(client=session.client))
        elif found.standing is Standing.MISSING:
            self._refuse(session, session.replies.reverse_dns_missing)
        elif found.standing is Standing.UNCONFIRMED and self._wanted is Wanted.CONFIRMED:
            self._refuse(session, session.replies.reverse_dns_unconfirmed)

    def reload(self) -> None:
        """Forget the names."""
        self._dns.reload()

    async def stop(self) -> None:
        """Take back what is asked."""
        await self._dns.stop()

    def _refuse(self, session: Session, reply: Reply) -> None:
        if self._defer:
            reply = Reply(450, "4.7.25", reply.text)
        raise Refusal(reply.fill(client=session.client))

    async def _look_up(self, address: Address) -> ReverseName:
        try:
            claimed = await awaited(self._dns.ptr(address))
        except NoAnswer as error:
            _log.debug("the name of {address} is not known: {error}", address=str(address), error=str(error))
            return ReverseName(Standing.UNKNOWN)
        lowered = dict.fromkeys(name.lower() for name in claimed)
        names = tuple(name for name in lowered if _HOST.fullmatch(name))[:_NAMES]
        if not names:
            return ReverseName(Standing.MISSING)
        found = await together(self._leads_back(name, address) for name in names)
        for name, leads_back in zip(names, found, strict=True):
            if leads_back:
                return ReverseName(Standing.CONFIRMED, name, names)
        return ReverseName(Standing.UNKNOWN if None in found else Standing.UNCONFIRMED, None, names)

    async def _leads_back(self, name: str, address: Address) -> bool | None:
        """Whether *name* has *address*; ``None`` where nobody can tell."""
        ask = self._dns.a if address.version == 4 else self._dns.aaaa
        try:
            return address in map(ip_address, await awaited(ask(name)))
        except NoAnswer:
            return None
