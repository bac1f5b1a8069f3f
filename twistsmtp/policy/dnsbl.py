"""DNS block lists (RFC 5782): clients, and domains, of which others say that spam comes from them.

Each list is asked when a client connects, all at one time and while the session goes on. At RCPT what they say is put
together: each list has a weight, that of an allow list is negative, and from a threshold on the recipient is refused. A
list that cannot be asked, or does not answer in time, says nothing, and counts as nothing. One that has not answered
three times in a row is not asked for half a minute.

A list is written as Postfix's ``postscreen_dnsbl_sites`` has it: ``zone=filter*weight``. The filter says which answers
count, and each of its four numbers may be several: ``127.0.0.[2..11]``, ``127.0.[0..255].[1;3]``. Several filters, each
with its weight, are parted by commas. Without one all answers count that can mean a listing: those in 127.0.0.0/8 that
do not end with 0, 1 or 255, as lists have these for "you may not ask me". 127.255.255.0/24 never counts: so Spamhaus
writes that it was asked in a wrong way. With ``@`` in front, a list is one of domains, and is asked for the sender's
domain and the name in HELO, at RCPT.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from twistsmtp.envelope import Recipient
from twistsmtp.later import Later, awaited
from twistsmtp.makers import number, several
from twistsmtp.policy.api import Policy
from twistsmtp.policy.dns import DNS, Address, Joined, NoAnswer, parse_server, together
from twistsmtp.policy.strangers import Strangers
from twistsmtp.policy.user import user_of
from twistsmtp.session import Session
from twistsmtp.wire.reply import Refusal
from twistsmtp.wire.text import printable

__all__ = ["DNSBlockLists", "DNSList", "Filter", "Listing", "parse_list"]

_log = Logger(namespace="twistsmtp.policy")

#: Characters of a list's reason that a client is told.
_SHOWN = 200
#: Seconds in which it is to say it.
_REASON_TIME = 1.0
#: Seconds between two complaints about one list.
_QUIET = 3600.0

_NUMBER = r"[0-9]{1,3}(?:\.\.[0-9]{1,3})?"
_PART = rf"(?:[0-9]{{1,3}}|\[{_NUMBER}(?:;{_NUMBER})*\])"
_FILTER = re.compile(rf"({_PART})\.({_PART})\.({_PART})\.({_PART})")
_WEIGHTED = re.compile(r"(.*?)(?:\*(-?[0-9]{1,3}))?")
_ZONE = re.compile(r"(?=.{1,180}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+")
#: A name that is no address, nor a part of a domain alone.
_DOMAIN = re.compile(r"[a-z0-9_.-]+\.[a-z0-9-]*[a-z][a-z0-9-]*")

_ANY = frozenset(range(256))


@dataclass(frozen=True, slots=True)
class Filter:
    """Answers of a list, and what they weigh."""

    #: The numbers that each of the four parts of an address may be.
    parts: tuple[frozenset[int], frozenset[int], frozenset[int], frozenset[int]]
    weight: int = 1

    def takes(self, answer: str) -> bool:
        """Whether *answer*, an IPv4 address, is one of them."""
        return all(each in part for each, part in zip(IPv4Address(answer).packed, self.parts, strict=True))


_PLAIN = (frozenset({127}), _ANY, _ANY, frozenset(range(2, 255)))
_ERRORS = Filter((frozenset({127}), frozenset({255}), frozenset({255}), _ANY))


@dataclass(frozen=True, slots=True)
class DNSList:
    """One list.

    :param zone: under which it is asked.
    :param filters: which answers count, and how much.
    :param of_domains: whether it lists domains, and not addresses.
    """

    zone: str
    filters: tuple[Filter, ...]
    of_domains: bool = False

    def weigh(self, answers: Iterable[str]) -> int:
        """What *answers* weigh together; each filter counts once."""
        said = [each for each in answers if not _ERRORS.takes(each)]
        return sum(each.weight for each in self.filters if any(map(each.takes, said)))


@dataclass(frozen=True, slots=True)
class Listing:
    """A list has somebody."""

    #: Whom: the client's address, or a domain.
    subject: str
    zone: str
    weight: int
    #: The name that was asked for.
    name: str


def parse_list(text: str) -> DNSList:
    """The list that *text* is: ``zone``, ``zone*2``, ``zone=127.0.0.[2..11]*2``, or one of these behind ``@``.

    :raises ValueError: it is none.
    """
    zone, filtered, filters = text.removeprefix("@").partition("=")
    name, weight = _parse_weight(zone)
    if not _ZONE.fullmatch(name.lower()):
        raise ValueError(f"{name!r} is no DNS list")
    if not filtered:
        parsed: tuple[Filter, ...] = (Filter(_PLAIN, weight),)
    elif "*" in zone:
        raise ValueError(f"{text!r}: the weight stands behind the filter")
    else:
        parsed = tuple(map(_parse_filter, filters.split(",")))
    return DNSList(name.lower(), parsed, text.startswith("@"))


def _parse_weight(text: str) -> tuple[str, int]:
    match = _WEIGHTED.fullmatch(text)
    weight = int(match[2] or 1) if match else 0
    if not match or not weight:
        raise ValueError(f"{text!r} has no weight: that is a number other than 0 behind *")
    return match[1], weight


def _parse_filter(text: str) -> Filter:
    answer, weight = _parse_weight(text)
    match = _FILTER.fullmatch(answer)
    if match is None:
        raise ValueError(f"{answer!r} is no filter, such as 127.0.0.[2..11]")
    a, b, c, d = (frozenset(_parse_part(part)) for part in match.groups())
    return Filter((a, b, c, d), weight)


def _parse_part(text: str) -> Iterable[int]:
    for each in text.strip("[]").split(";"):
        first, _, last = each.partition("..")
        numbers = range(int(first), int(last or first) + 1)
        if not numbers or numbers[-1] > 255:
            raise ValueError(f"{text!r} is no part of an address")
        yield from numbers


class DNSBlockLists(Policy):
    """Refuses recipients of clients that lists have: 554 5.7.1, with the list's own text.

    Users are not refused, nor clients that are trusted or whose address is a private one. What lists have said is in
    ``session.annotations["dnsbl"]``, a tuple of `Listing`, from RCPT on. A list without an answer is as one that has
    nobody, whatever ``on_failure`` says.

    :param lists: those that are asked.
    :param threshold: the least sum of weights for which mail is refused.
    :param dns: how they are asked; the time that it allows for an answer is theirs.
    :param trusted: networks whose clients are not looked up.
    :raises ValueError: there is no list, or one of *trusted* is no network.
    """

    def __init__(
        self,
        lists: Iterable[DNSList],
        *,
        threshold: int = 1,
        dns: DNS | None = None,
        trusted: Iterable[str] = (),
    ) -> None:
        lists = tuple(lists)
        self._of_addresses = [each for each in lists if not each.of_domains]
        self._of_domains = [each for each in lists if each.of_domains]
        if not lists:
            raise ValueError("it has no list")
        self._threshold = threshold
        self._dns = DNS() if dns is None else dns
        self._strangers = Strangers(trusted)
        # Of the session's notes one for each such policy.
        self._key = f"dnsbl {id(self):x}"
        self._complained: dict[str, float] = {}

    @classmethod
    def from_options(
        cls,
        *lists: str,
        threshold: str = "1",
        timeout: str = "5",
        server: str = "",
        trusted: str = "",
        **filtered: str,
    ) -> "DNSBlockLists":
        """The policy that the parts of a string describe.

        :param filtered: filters by their zone.
        :raises ValueError: they describe none.
        """
        for name in filtered:
            if "." not in name:
                raise ValueError(f"there is no option {name!r}")
        if not re.fullmatch("[1-9][0-9]{0,3}", threshold):
            raise ValueError(f"threshold is a number from 1 on, not {threshold!r}")
        texts = (*lists, *(f"{zone}={filters}" for zone, filters in filtered.items()))
        return cls(
            map(parse_list, texts),
            threshold=int(threshold),
            dns=DNS(servers=[parse_server(server)] if server else (), time_limit=number("timeout", timeout)),
            trusted=several(trusted),
        )

    def connect(self, session: Session) -> None:
        """Ask the lists, and wait for nothing."""
        session.annotations.pop("dnsbl", None)
        session.annotations.pop(self._key, None)
        address = self._strangers.address(session)
        if address is not None:
            asked = session.annotations[self._key] = Joined(self._look_up_address(session, address))
            session.at_end(asked.cancel)

    def rcpt(self, session: Session, recipient: Recipient) -> Later[None]:
        """Refuse *recipient*, if the lists have the client or its domains."""
        asked: Joined[tuple[Listing, ...]] | None = session.annotations.get(self._key)
        return None if asked is None or user_of(session) is not None else self._decide(session, asked)

    def reload(self) -> None:
        """Forget what the lists have said."""
        self._dns.reload()

    async def stop(self) -> None:
        """Take back what is asked."""
        await self._dns.stop()

    async def _decide(self, session: Session, asked: Joined[tuple[Listing, ...]]) -> None:
        addresses, domains = await together([awaited(asked.wait()), self._look_up_domains(session)])
        listings = session.annotations["dnsbl"] = addresses + domains
        score = sum(each.weight for each in listings)
        if score < self._threshold:
            return
        worst = max(listings, key=lambda listing: listing.weight)
        _log.info(
            "{id} client={client} is refused: {lists}",
            id=session.id,
            client=session.client,
            lists=", ".join(f"{printable(each.subject)} in {each.zone} ({each.weight:+})" for each in listings),
        )
        reason = await self._reason(session, worst)
        raise Refusal(session.replies.dns_listed.fill(subject=worst.subject, zone=worst.zone, reason=reason))

    async def _reason(self, session: Session, listing: Listing) -> str:
        """What the list says, in text."""
        try:
            asked = Deferred.fromCoroutine(awaited(self._dns.txt(listing.name)))
            texts = await asked.addTimeout(_REASON_TIME, session.clock)
        except (NoAnswer, TimeoutError):
            texts = ()
        return printable(" ".join(texts), _SHOWN) or "ask there for the reason"

    # --- asking ----------------------------------------------------------------------------------------------

    def _look_up_address(self, session: Session, address: Address) -> Deferred[tuple[Listing, ...]]:
        reverse = address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
        now = session.seconds()
        return Deferred.fromCoroutine(self._look_up(self._of_addresses, {reverse: str(address)}, now))

    async def _look_up_domains(self, session: Session) -> tuple[Listing, ...]:
        mailbox = session.current.reverse_path.mailbox
        names = ((mailbox.host if mailbox else ""), (session.helo or "").lower())
        domains = {name: name for name in names if _DOMAIN.fullmatch(name)}
        return await self._look_up(self._of_domains, domains, session.seconds())

    async def _look_up(self, lists: Iterable[DNSList], subjects: dict[str, str], now: float) -> tuple[Listing, ...]:
        """The listings of *subjects*, by the name that each has below a list's zone; one of each list at the most."""
        asked = [(each, name) for each in lists for name in subjects]
        weights = await together(self._weigh(each, f"{name}.{each.zone}", now) for each, name in asked)
        found: dict[DNSList, Listing] = {}
        for (each, name), weight in zip(asked, weights, strict=True):
            if weight:
                found.setdefault(each, Listing(subjects[name], each.zone, weight, f"{name}.{each.zone}"))
        return tuple(found.values())

    async def _weigh(self, each: DNSList, name: str, now: float) -> int:
        complain = partial(self._complain, each.zone, now)
        try:
            answers = await awaited(self._dns.a(name, each.zone))
        except NoAnswer as error:
            complain(f"does not answer, and counts as nothing: {error}")
            return 0
        errors = [answer for answer in answers if _ERRORS.takes(answer)]
        if errors:
            complain(f"does not want to be asked by this server, and counts as nothing: it says {errors[0]}")
        return each.weigh(answers)

    def _complain(self, zone: str, now: float, problem: str) -> None:
        last: Any = self._complained.get(zone)
        if last is None or now - last >= _QUIET:
            self._complained[zone] = now
            _log.warn("the DNS list {zone} {problem}", zone=zone, problem=problem)
