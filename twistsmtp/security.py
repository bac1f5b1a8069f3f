"""What a server encrypts with, and how it gets to know its clients.

One value has all of it, and the connections of a factory share it::

    SMTPFactory(delivery, security=Security(tls=Certificates("mx.pem"), portal=portal, require_auth=True))
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from math import exp2
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twistsmtp.sasl import load_mechanisms
from twistsmtp.sasl.api import Mechanism
from twistsmtp.tls.adapt import creator_of

__all__ = ["Audience", "Failures", "Security"]


class Audience(StrEnum):
    """Who is told something."""

    NOBODY = "nobody"
    #: Clients that have proved who they are. SASL ANONYMOUS proves nothing.
    USERS = "users"
    EVERYBODY = "everybody"


class Failures:
    """How often the clients at an address have failed to authenticate, over all their connections.

    A count halves with every half-life. Only so many addresses are kept: of more, the one that has not failed for
    the longest time is forgotten. An attempt counts from its beginning on, and not any more when it has succeeded: so
    nothing is gained by many at once, or by going away before the answer.

    Only so many attempts of an address are under way at a time, and the others wait: to check a password takes a
    processor's time on purpose, and who guesses is not to keep all others waiting.

    :param half_life: seconds.
    :param room: addresses.
    :param at_once: attempts of one address.
    """

    def __init__(self, half_life: float = 1800.0, room: int = 10_000, at_once: int = 4) -> None:
        self.half_life = half_life
        self.room = room
        self.at_once = at_once
        #: Attempts that are under way, and those that wait for their turn, by address.
        self._under_way: Counter[str] = Counter()
        self._waiting: dict[str, deque[Deferred[None]]] = {}
        #: Count and time by address, the latest failure last.
        self._table: dict[str, tuple[float, float]] = {}

    def add(self, address: str, now: float) -> None:
        """A client at *address* has failed.

        :param now: seconds of the clock.
        """
        count = self.count(address, now) + 1
        self._table.pop(address, None)
        self._table[address] = (count, now)
        if len(self._table) > self.room:
            del self._table[next(iter(self._table))]

    def take_back(self, address: str) -> None:
        """What was added for a client at *address* was no failure."""
        if address in self._table:
            count, since = self._table[address]
            if count > 1:
                self._table[address] = (count - 1, since)
            else:
                del self._table[address]

    async def turn(self, address: str) -> None:
        """Wait until an attempt of *address* may begin; when it has ended, `end_turn` is to be called."""
        if self._under_way[address] < self.at_once:
            self._under_way[address] += 1
            return
        turn: Deferred[None] = Deferred()
        self._waiting.setdefault(address, deque()).append(turn)
        await turn

    def end_turn(self, address: str, clock: IReactorTime) -> None:
        """An attempt of *address* has ended; the next may begin."""
        waiting = self._waiting.get(address)
        if waiting:
            # Not from here: of hundreds that end at once each would call the next, and Python's stack would end.
            clock.callLater(0, self._begin, address, waiting.popleft(), clock)
            return
        self._waiting.pop(address, None)
        self._under_way[address] -= 1
        if not self._under_way[address]:
            del self._under_way[address]

    def _begin(self, address: str, turn: "Deferred[None]", clock: IReactorTime) -> None:
        if turn.called:  # cancelled, as its client has gone
            self.end_turn(address, clock)
        else:
            turn.callback(None)

    def count(self, address: str, now: float) -> float:
        """How often clients at *address* have failed, those of long ago counting less."""
        count, since = self._table.get(address, (0.0, now))
        return count * exp2((since - now) / self.half_life)


def _nobody(authentication: str, identity: str) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What a server encrypts with, and how it gets to know its clients.

    :raises ValueError: authentication is required, and there is no portal.
    :raises TypeError: *tls* is nothing that TLS can be made of.
    """

    #: What makes the server's side of TLS connections; without it STARTTLS is not offered. `Certificates`,
    #: `twisted.internet.ssl.CertificateOptions`, a pyOpenSSL ``Context``: whatever `creator_of` takes.
    tls: Any = None
    #: Whether mail is taken over TLS only (RFC 3207 section 4: not for a server that anybody is to send mail to).
    require_tls: bool = False
    #: Where credentials are checked. Its avatars are our deliveries, as `IDelivery`, or twisted.mail's
    #: ``IMessageDelivery`` or ``IMessageDeliveryFactory``. The mind is the `Session`.
    portal: Portal | None = None
    #: Whether mail is taken only from clients that have authenticated.
    require_auth: bool = False
    #: Whether a client may authenticate without TLS, for everybody on the way to read along.
    plaintext_auth: bool = False
    #: In order of preference. Offered of these is what the portal's checkers can check.
    mechanisms: tuple[Mechanism, ...] = field(default_factory=load_mechanisms)
    #: Whether a user (the first, whose credentials are right) may act as another (the second): RFC 4422 section 3.4.1.
    may_act_as: Callable[[str, str], bool] = _nobody
    #: Who is told by VRFY and EXPN which mailboxes there are. Others are answered as where the delivery knows of none.
    verify: Audience = Audience.NOBODY
    #: What is remembered of clients that failed.
    failures: Failures = field(default_factory=Failures, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.require_auth and self.portal is None:
            raise ValueError("authentication is required, but there is no portal")
        if self.tls is not None:
            object.__setattr__(self, "tls", creator_of(self.tls))
