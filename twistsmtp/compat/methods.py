"""Our protocol behind an object whose methods are its commands, as two of the older APIs have it.

Such an object, the *front*, has a method for each verb, which says what it likes by a method of the front's, now or
later. For the protocol it is a verb as any other, whose outcome is what was said::

    protocol  a line has come; there is a row for each method of the front
    method    says something, at once or later: until then the protocol waits, and carries nothing else out
    method    may leave an outcome of ours behind (`Engine.outcome`): a message that comes, TLS, a question

A method that stands for one of our own verbs carries that one out (`Engine.perform`). What is hard (lines, limits, one
command at a time, messages, TLS, the ways in which a connection ends) is `twistsmtp.protocol.SMTPProtocol`'s.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from time import time
from typing import Any, Protocol

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.python.failure import Failure

from twistsmtp.clients import Clients
from twistsmtp.connection import Connection
from twistsmtp.delivery.api import Delivery
from twistsmtp.events import exception_caught
from twistsmtp.later import Later, then
from twistsmtp.limits import Limits
from twistsmtp.phases import Checks
from twistsmtp.protocol import SMTPProtocol
from twistsmtp.security import Failures, Security
from twistsmtp.session import Phase, Session
from twistsmtp.verb import Extension, Outcome, Registry, Verb
from twistsmtp.verbs.arguments import any_text
from twistsmtp.verbs.data import BDAT
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Catalogue, Refusal, Reply

__all__ = ["Engine", "Front", "House", "Words"]

#: Verbs that move no mail.
IDLE = frozenset({"AUTH", "EHLO", "EXPN", "HELO", "HELP", "NOOP", "RSET", "STARTTLS", "VRFY"})

_numbers = count(1)


class Front(Protocol):
    """What the engine asks of the object that it stands behind."""

    def _find(self, name: str) -> Callable[[str], object] | None:
        """The method for the verb *name*."""
        ...

    def _names(self) -> Iterator[str]:
        """The verbs that there are methods for."""
        ...

    def _allowance(self, name: str) -> int:
        """Octets that the line of *name* may have beyond the limit."""
        ...

    def _unknown(self, name: str) -> None:
        """Answer a verb that there is no method for."""
        ...

    def _greet(self) -> None:
        """Say the greeting."""
        ...

    def _answer(self, reply: Reply) -> None:
        """Say *reply*, which is the protocol's, in the program's way."""
        ...

    def _line(self, line: bytes) -> None:
        """A line has come: give it to `Engine.command`."""
        ...

    def _encrypt(self) -> None:
        """TLS begins, and the session anew."""
        ...

    def _lost(self) -> None:
        """The connection is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Words:
    """What an older API says, where the protocol or our own verbs have the word."""

    replies: Catalogue
    #: To verbs that come when they are not legal, by their name.
    out_of_place: Mapping[str, Reply] = field(default_factory=dict)
    #: Those whose parameters our own verbs know.
    extensions: Sequence[Extension] = ()


class House:
    """What the connections of one server share: how many there are, and who has failed to authenticate."""

    def __init__(self, limits: Limits, words: Words) -> None:
        self.limits = limits
        self.words = words
        self.failures = Failures()
        self.clients = Clients()
        self.connections: set[Connection] = set()

    def admit(self, protocol: Connection) -> Reply | None:
        """Count *protocol* in, or say why it has to go."""
        client = protocol.session.network
        self.connections.add(protocol)
        self.clients.enter(client)
        if len(self.connections) > self.limits.connections:
            return self.words.replies.too_many_connections
        if client and self.clients.count(client) > self.limits.connections_per_client:
            return self.words.replies.too_many_from_client
        return None

    def release(self, protocol: Connection) -> None:
        """*protocol* is gone."""
        self.connections.discard(protocol)
        self.clients.leave(protocol.session.network)


class _Rows(Mapping[str, Verb[Any]]):
    """A row for each method of the front."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._rows: dict[str, Verb[Any]] = {}

    def __getitem__(self, name: str) -> Verb[Any]:
        if not (name.isascii() and self._engine.front._find(name)):
            raise KeyError(name)
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = Verb(
                name=name,
                syntax=name,
                help=name,
                parse=any_text,
                run=lambda _, argument: self._engine.call(name, argument),
                idle=name in IDLE,
                ends=name == "QUIT",
            )
        return row

    def __iter__(self) -> Iterator[str]:
        return self._engine.front._names()

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Registry(Registry):
    """The table of the methods of a front."""

    def __init__(self, engine: "Engine") -> None:
        super().__init__((), engine.house.words.extensions)
        self.verbs = _Rows(engine)
        self._front = engine.front

    def allowance(self, name: str) -> int:
        """Octets that the line of verb *name* may have beyond `Limits.command_line`."""
        return self._front._allowance(name)

    @property
    def greatest_allowance(self) -> int:
        """The most that any verb adds to the length of a command line, in octets."""
        return max(map(self.allowance, self.verbs), default=0)

    @greatest_allowance.setter
    def greatest_allowance(self, value: int) -> None:
        """It follows from the front."""


class _Shared:
    """What our protocol takes from its factory."""

    strict_greeting = False
    #: The front says its own.
    greeting = Reply(220, "", "")

    def __init__(self, engine: "Engine", reactor: IReactorTime) -> None:
        house = engine.house
        self._engine = engine
        self.registry = _Registry(engine)
        self.limits = house.limits
        self.replies = house.words.replies
        self.reactor = reactor
        self.admit = house.admit
        self.release = house.release

    def new_session(self, transport: Any, address: object = None) -> Session:
        """A session for the connection of *transport*."""
        return Session(
            id=f"{int(time() * 1000):x}-{os.getpid():x}-{next(_numbers):x}",
            peer=_peer(transport),
            hostname=self._engine.hostname,
            delivery=self._engine.delivery,
            dialect=self.registry,
            limits=self.limits,
            replies=self.replies,
            checks=_NO_CHECKS,
            security=_SECURITY,
            clock=self.reactor,
            clients=self._engine.house.clients,
        )

    def receive(self, session: Session) -> None:
        """What becomes of the mail of strangers is the front's affair."""


_NO_CHECKS, _SECURITY = Checks(), Security()


def _peer(transport: Any) -> IAddress:
    peer: IAddress = transport.getPeer()
    return peer if hasattr(peer, "host") else UNIXAddress(None)


class Engine(SMTPProtocol):
    """Our protocol, for one connection of *front*.

    :param hostname: the name that the server goes by.
    :param delivery: where the mail goes that our own verbs take.
    """

    __slots__ = ("_excusing", "_left", "_outcome", "_said", "_unsaid", "delivery", "front", "hostname", "house")

    def __init__(self, front: Front, house: House, reactor: IReactorTime, hostname: str, delivery: Delivery) -> None:
        super().__init__()
        self.front = front
        self.house = house
        self.hostname = hostname
        self.delivery = delivery
        #: Whether something was said since the command that is carried out; and what waits for that.
        self._said = False
        self._unsaid: Deferred[Outcome] | None = None
        self._outcome: Later[Outcome] | None = None
        #: Whether the reply that is being said is no error of the client's.
        self._excusing = False
        shared: Any = _Shared(self, reactor)
        self.factory = shared

    # --- commands --------------------------------------------------------------------------------------------

    def lineReceived(self, line: bytes) -> None:
        """One command line, without its CRLF."""
        self.front._line(line)

    def command(self, line: bytes) -> None:
        """Carry out *line*."""
        super().lineReceived(line)
        if self._out:
            self.flush()

    def call(self, name: str, argument: str) -> Later[Outcome]:
        """Call the front's method for *name*."""
        method = self.front._find(name)
        if method is None:  # it was there when it was looked for
            raise LookupError(name)
        self._said, self._outcome = False, None
        try:
            return then(method(argument), self._called)
        except Exception:
            if not self._said:
                raise
            # A second reply would be taken for that to the next command.
            exception_caught(self.session, Failure(), "nothing")
            self.leave("a command failed that had been answered")
            return ()

    def _called(self, _: object) -> Later[Outcome]:
        """What there is to do when the method has returned."""
        outcome, self._outcome = self._outcome, None
        if outcome is not None:
            later: Later[Outcome] = then(outcome, self._in_its_way)  # type: ignore[arg-type]  # it sees ``object`` there
            return later
        if self._said or self._closing_since is not None:
            return ()
        self._unsaid = Deferred()
        return self._unsaid

    def _in_its_way(self, outcome: Outcome) -> Outcome:
        """A reply is said in the program's way; all else is for the protocol."""
        if not isinstance(outcome, Reply):
            return outcome
        self._say(outcome)
        return ()

    def outcome(self, outcome: Later[Outcome]) -> None:
        """The method that runs leaves *outcome* behind; one that has returned, a reply."""
        self._outcome = outcome

    def perform(self, verb: Verb[Any], argument: str) -> None:
        """The method that runs stands for *verb*, one of ours: carry that out."""
        self.outcome(self._perform(verb, argument))

    def _perform(self, verb: Verb[Any], argument: str) -> Later[Outcome]:
        session = self.session
        try:
            if not verb.stages & session.stage:
                reply = self.house.words.out_of_place.get(verb.name)
                raise Refusal(reply or self._out_of_sequence(verb))
            if verb.phase is Phase.RCPT:
                session.current.asked += 1
            return verb.run(session, verb.parse(session, argument))
        except (Refusal, GrammarError) as error:
            return self._reply_to(error)

    def _unrecognized(self, name: str) -> None:
        counts, limits = self.session.counts, self.session.limits
        if name in limits.not_smtp or counts.unknown_commands + 1 >= limits.unknown_commands:
            super()._unrecognized(name)
            return
        if name == BDAT.name:  # its octets are no commands
            self.close(self.factory.replies.not_implemented.fill(verb=name))
            return
        counts.unknown_commands += 1
        self.front._unknown(name)

    # --- what is said ----------------------------------------------------------------------------------------

    def put(self, octets: bytes) -> None:
        """Say *octets*, whole lines of a reply; the last line of a reply has no hyphen behind its code."""
        if self._closing_since is not None:
            return
        self._out.append(octets)
        self.flush()
        last = octets[:-2].rpartition(b"\n")[2]
        if last[3:4] == b"-":
            return
        self._said = True
        if last[:1] in (b"4", b"5") and not self._excusing:
            self._count_error()
        unsaid, self._unsaid = self._unsaid, None
        if unsaid is not None and not unsaid.called:
            unsaid.callback(())

    def _say(self, reply: Reply) -> None:
        if not self.greeted or reply.code == 421:
            super()._say(reply)
            return
        self._excusing = self._excused(reply)
        try:
            self.front._answer(reply)
        finally:
            self._excusing = False

    def _welcome(self, _: None) -> Outcome:  # type: ignore[override]  # the greeting is the front's
        super()._welcome(None)
        self.front._greet()
        return ()

    def begin_tls(self, certificates: Any) -> None:
        """Begin TLS; see `Connection`."""
        self.front._encrypt()
        super().begin_tls(certificates)

    # --- the end ---------------------------------------------------------------------------------------------

    def leave(self, reason: str = "closed by the program") -> None:
        """End the connection without a word more."""
        if self._closing_since is None:
            self.flush()
            self._give_up(reason)
            self.transport.unregisterProducer()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        """The connection is gone, whoever ended it."""
        if self.connected:
            self.connected = 0
            super().connectionLost(reason)
            self.front._lost()

    @property
    def busy(self) -> bool:
        """Whether it is not the client's turn: an answer is pending."""
        return self._pending is not None

    @property
    def mode(self) -> str:
        """What the next octets are: ``"DATA"``, ``"AUTH"`` or ``"COMMAND"``."""
        return "DATA" if self._intake is not None else "AUTH" if self._asked is not None else "COMMAND"
