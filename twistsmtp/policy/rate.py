"""Rate limits: how much mail a client, a user or a sender may bring in a time, and how often a client may connect.

Each who is counted has a bucket (a token bucket). It begins full, with as many messages as the rate has; each message
takes one out, and they come back evenly, all of them in the time of the rate. So with ``100/h`` a client may bring 100
at once, and from then on one every 36 seconds; in no hour more than 200, and 100 an hour in the long run.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from twisted.logger import Logger

from twistsmtp.addresskeys import address_key, without_detail
from twistsmtp.clients import Networks
from twistsmtp.envelope import Recipient, ReversePath
from twistsmtp.makers import several
from twistsmtp.policy.api import Policy
from twistsmtp.policy.user import user_of
from twistsmtp.session import Session
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.reply import Refusal
from twistsmtp.wire.text import printable

__all__ = ["Buckets", "Rate", "RateLimits", "parse_rate"]

_log = Logger(namespace="twistsmtp.policy")

#: Buckets of one kind that are kept.
ROOM = 50_000
#: Among how many of the longest unused is looked for the one to drop.
_LOOKED_AT = 8
#: Characters of a name in the log.
_SHOWN = 100

_RATE = re.compile(r"([0-9]{1,9})/([0-9]{1,4})?([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds.

    :raises ValueError: either is less than 1.
    """

    count: int
    seconds: float

    def __post_init__(self) -> None:
        if self.count < 1 or self.seconds < 1:
            raise ValueError(f"a rate is 1 at least, in 1 second at least, not {self.count} in {self.seconds:g}")


def parse_rate(text: str) -> Rate:
    """The rate of ``100/h`` or ``20/10m``; ``s``, ``m``, ``h`` and ``d`` are units.

    :raises ValueError: it is none.
    """
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"a rate is as 100/h or 20/10m, not {text!r}")
    count, times, unit = match.groups()
    return Rate(int(count), int(times or 1) * _SECONDS[unit])


class Buckets:
    """Token buckets of one rate, by whoever is counted.

    Of a bucket only the time is kept at which it is full again; one that is full is the same as none. There is room
    for so many: for one more, one of those that have not been used for the longest time is dropped, and of these the
    one that is full, or nearest to it.

    :param room: how many are kept.
    """

    def __init__(self, rate: Rate, room: int = ROOM) -> None:
        self.rate = rate
        self.room = room
        #: Seconds in which one comes back.
        self._interval = rate.seconds / rate.count
        #: When each is full, the longest unused first.
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def has(self, key: Hashable, now: float) -> bool:
        """Whether there is one left for *key*.

        :param now: the clock's seconds. It may be put back: then a bucket is empty at the most.
        """
        # Sums of times are not exact: a thousandth of one is none.
        return self._since(key, now) + self._interval - now <= self.rate.seconds + self._interval / 1000

    def take(self, key: Hashable, now: float) -> None:
        """Take one for *key*, whether there is one left or not; no bucket is more than empty."""
        full_at = min(self._since(key, now) + self._interval, now + self.rate.seconds)
        if key not in self._full_at and len(self._full_at) >= self.room:
            del self._full_at[min(islice(self._full_at, _LOOKED_AT), key=self._full_at.__getitem__)]
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)

    def _since(self, key: Hashable, now: float) -> float:
        """From when on the bucket of *key* fills, if one more is taken."""
        full_at = self._full_at.get(key, now)
        if full_at > now + self.rate.seconds:  # the clock was put back
            full_at = self._full_at[key] = now + self.rate.seconds
        return max(full_at, now)

    def __len__(self) -> int:
        return len(self._full_at)


class RateLimits(Policy):
    """Defers mail that comes faster than a rate, by 451 4.7.1, and refuses clients that connect too often, by 421.

    Who has too little left in one bucket takes nothing from the others. What is refused does not count, so a client
    that tries again and again is let in as soon as it may be. What comes by LMTP was counted where it came in.

    Counts live as long as the policy does, reloads included, and are those of one process, unless they are shared.

    :param client: for each client address (of IPv6, the /64 network); users are counted here, too.
    :param user: for each user.
    :param sender: for each address in MAIL, without ``+`` and what is behind it, of each user, and of each client
        address of those who are none: so that nobody uses up what is another's by naming their address. The null
        reverse-path has no limit.
    :param connections: for each client address.
    :param recipients: whether it is recipients that are counted, and not messages.
    :param trusted: networks for whose clients there is no limit but that of users.
    :param room: how many of each kind are remembered.
    :raises ValueError: there is no rate, or one of *trusted* is no network.
    """

    def __init__(
        self,
        *,
        client: Rate | None = None,
        user: Rate | None = None,
        sender: Rate | None = None,
        connections: Rate | None = None,
        recipients: bool = False,
        trusted: Iterable[str] = (),
        room: int = ROOM,
    ) -> None:
        rates = {"client": client, "user": user, "sender": sender, "connections": connections}
        self._buckets = {name: Buckets(rate, room) for name, rate in rates.items() if rate is not None}
        if not self._buckets:
            raise ValueError("it limits nothing: give a rate for client, user, sender or connections")
        self._trusted = Networks(trusted)
        self.recipients = recipients

    @classmethod
    def from_options(
        cls,
        *,
        client: str = "",
        user: str = "",
        sender: str = "",
        connections: str = "",
        count: str = "messages",
        trusted: str = "",
    ) -> "RateLimits":
        """What ``rate:client=100/h:user=500/d`` means."""
        if count not in ("messages", "recipients"):
            raise ValueError(f"count is messages or recipients, not {count!r}")
        client_rate, user_rate, sender_rate, connection_rate = (
            parse_rate(text) if text else None for text in (client, user, sender, connections)
        )
        return cls(
            client=client_rate,
            user=user_rate,
            sender=sender_rate,
            connections=connection_rate,
            recipients=count == "recipients",
            trusted=several(trusted),
        )

    def share(self, buckets: Callable[[str, Rate], Buckets]) -> None:
        """Count where others count as well.

        :param buckets: those of one kind, ``"client"`` for one, and its rate.
        """
        self._buckets = {name: buckets(name, each.rate) for name, each in self._buckets.items()}

    def connect(self, session: Session) -> None:
        """Refuse a client that connects too often."""
        buckets = self._buckets.get("connections")
        if buckets is None or session.lmtp or not session.network or session.peer in self._trusted:
            return
        now = session.seconds()
        if not buckets.has(session.network, now):
            raise Refusal(session.replies.connects_too_often)
        buckets.take(session.network, now)

    def mail(self, session: Session, reverse_path: ReversePath) -> None:
        """Defer a message too many."""
        if not self.recipients:
            self._count(session, reverse_path.mailbox)

    def rcpt(self, session: Session, recipient: Recipient) -> None:
        """Defer a recipient too many."""
        if self.recipients:
            self._count(session, session.current.reverse_path.mailbox)

    def _count(self, session: Session, sender: Mailbox | None) -> None:
        if session.lmtp:
            return
        now = session.seconds()
        counted = [(name, self._buckets[name], key) for name, key in self._keys(session, sender)]
        for name, buckets, key in counted:
            if not buckets.has(key, now):
                _log.info(
                    "{id} client={client} brings too much mail by the limit for each {limit}: {key}",
                    id=session.id,
                    client=session.client,
                    limit=name,
                    key=printable(key[-1][:_SHOWN]),
                )
                raise Refusal(session.replies.too_much_mail.fill(whom=_WHOM[name]))
        for _, buckets, key in counted:
            buckets.take(key, now)

    def _keys(self, session: Session, sender: Mailbox | None) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Whom mail of *sender* counts for, by kind."""
        user = user_of(session)
        if user is not None and "user" in self._buckets:
            yield "user", (user,)
        if session.peer in self._trusted:
            return
        if session.network and "client" in self._buckets:
            yield "client", (session.network,)
        if sender is not None and "sender" in self._buckets:
            local, host = address_key(sender)
            who = ("client", session.network) if user is None else ("user", user)
            yield "sender", (*who, f"{without_detail(local)}@{host}")


_WHOM = {"client": "your address", "user": "you", "sender": "this sender"}
