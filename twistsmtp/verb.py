"""Verbs and extensions as data, and the registry that the protocol reads: a table that can be printed.

A verb is a row: its name, the stages in which it is legal, two flags, the phase whose policies are asked, and two
functions. ``parse(session, argument)`` makes a value of the argument, without effects; ``run(session, value)`` does
the work. Whatever needs the transport, ``run`` returns as a value, an `Outcome`, and the protocol carries it out:

========== =========================================================================================
`Reply`    is sent; a tuple of them one by one
`Close`    is sent, and the connection ends
`Ask`      is sent (a 334, say), and the next line goes to its function instead of to a verb
`BeginTLS` is sent, and TLS begins; what came behind the command is thrown away
`Intake`   is sent (a 354), and the octets that follow go to it, until it says where they end
========== =========================================================================================

An extension is data as well: the keyword in the reply to EHLO, the verbs and the parameters that it adds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator

from twistsmtp.envelope import Parameter, always
from twistsmtp.later import Later
from twistsmtp.limits import Limits
from twistsmtp.session import Phase, Session, Stage
from twistsmtp.wire.address import DEFAULT_LIMITS
from twistsmtp.wire.grammar import REMEMBERED, GrammarError
from twistsmtp.wire.reply import Reply

__all__ = [
    "ANY_STAGE",
    "Ask",
    "BeginTLS",
    "Close",
    "Extension",
    "Intake",
    "Outcome",
    "Parse",
    "Registry",
    "Verb",
    "honoured",
]

A = TypeVar("A")

#: Octets of the longest line that is remembered.
RECURRING_LINE = 100
#: Legal from the greeting on.
ANY_STAGE = Stage.CONNECTED | Stage.READY | Stage.MAIL | Stage.RCPT | Stage.CHUNKS | Stage.BARRED


@dataclass(frozen=True, slots=True)
class Close:
    """Say *reply* and end the connection."""

    reply: Reply


def _nothing() -> None:
    """What has to be done where nothing has been begun."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Say *reply*, and give the next line, without its CRLF, to *answer*.

    :param reply: ``None`` where that was said already.
    :param answer: is given ``None`` for a line that was too long.
    :param limit: octets of that line with its CRLF.
    :param abandon: is called if the connection ends before there is an answer.
    """

    reply: Reply | None
    answer: Callable[[bytes | None], "Later[Outcome]"]
    limit: int = 512
    abandon: Callable[[], object] = _nothing


@dataclass(frozen=True, slots=True)
class BeginTLS:
    """Say *reply*, and begin TLS.

    What the client has sent behind the command is thrown away, as nobody knows whether it was the client, and the
    session begins anew (RFC 3207 sections 4.2 and 6).

    :param reply: ``None`` where that was said already.
    :param certificates: what makes the server's side of TLS connections.
    """

    reply: Reply | None
    certificates: IOpenSSLServerConnectionCreator


class Intake(Protocol):
    """Octets that are not commands: the body behind DATA, or a chunk of a given length, which is not none: a verb that
    is told that there are none answers by itself."""

    @property
    def reply(self) -> Reply | None:
        """Sent before any octets are taken; ``None`` where the client does not wait for a word."""
        ...

    #: Set while what was fed is still being worked on: nothing more is fed until it fires, and it never fails.
    waiting: "Deferred[None] | None"

    def feed(self, data: bytes, start: int) -> int:
        """Take *data* from *start* on.

        :returns: the position behind the last octet that is the intake's, or -1 if all were and more are to come.
        """
        ...

    def end(self) -> "Later[Outcome]":
        """All has come. Called once, when `waiting` has fired."""
        ...


Outcome = Reply | tuple[Reply, ...] | Close | Ask | BeginTLS | Intake

#: What makes a line of the reply to EHLO; ``None`` offers nothing to this session.
_Offer = Callable[[Session], str | None]


@dataclass(frozen=True, slots=True)
class Parse(Generic[A]):
    """A `Verb.parse` that knows arguments whose value depends on nothing else, and is remembered with a line.

    :param plain: makes the value of such an argument, which is ASCII, and has at most ``DEFAULT_LIMITS.safe``
        characters; for any other it gives ``None``, or raises `GrammarError`, which nobody is told.
    :param full: makes that of any.
    """

    plain: Callable[[str], A | None]
    full: Callable[[Session, str], A]

    def __call__(self, session: Session, argument: str) -> A:
        """The value of *argument*."""
        return self.full(session, argument)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb(Generic[A]):
    """One row of the table."""

    #: In upper case.
    name: str
    #: The argument as HELP and syntax errors show it, with the verb: ``"RCPT TO:<forward-path> [parameters]"``.
    syntax: str
    #: What it does, in a sentence.
    help: str
    #: Makes a value of the argument, or raises `Refusal` or `GrammarError`.
    parse: Callable[[Session, str], A]
    #: Does it, or raises `Refusal`.
    run: Callable[[Session, A], Later[Outcome]]
    #: `Stage` bits in which it is legal.
    stages: int = ANY_STAGE
    #: Whether a session may use it; else HELP does not name it.
    usable: Callable[[Session], bool] = always
    #: Whether it moves no mail: only so many of these without a message (`Limits.idle_commands`).
    idle: bool = False
    #: Whether the same line comes again and again, and has no secret in it, so that it may be remembered.
    recurs: bool = False
    #: Whether it says that the client is done: one that then closed its sending side still gets every reply.
    ends: bool = False
    #: The line in the reply to EHLO that offers it, where it is to be offered (RFC 5321 section 3.5.2).
    keyword: str | _Offer | None = None
    #: Octets that its line may have beyond `Limits.command_line`, besides those of its parameters.
    octets: int = 0
    #: Makes the reply to a line that is too long, where that is one of its own.
    too_long: Callable[[Session], Reply] | None = None
    #: Makes the outcome where the command was refused, of its argument and the reply: for a verb behind which octets
    #: come that are no commands, whatever becomes of it.
    refused: Callable[[Session, str, Reply], Outcome] | None = None
    #: The policies to ask between `parse` and `run`, about the parsed value.
    phase: Phase | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """One ESMTP extension (RFC 5321 section 2.2): everything it adds to the server."""

    #: As configuration names it.
    name: str
    #: Where it is specified; ``""`` for one of one's own.
    rfc: str = ""
    #: The line in the reply to EHLO, or what makes it; ``None`` offers nothing to this session.
    keyword: str | _Offer
    #: Whether a session may use it; else it is not offered. `honoured` is for what is up to the delivery.
    usable: Callable[[Session], bool] = always
    #: The names of extensions that must be there as well.
    needs: tuple[str, ...] = ()
    verbs: tuple[Verb[Any], ...] = ()
    mail_parameters: tuple[Parameter[Any], ...] = ()
    rcpt_parameters: tuple[Parameter[Any], ...] = ()
    #: How replies are put on the wire, where the extension changes that.
    reply_octets: Callable[[Reply], bytes] | None = None

    def offer(self, session: Session) -> str | None:
        """The line in the reply to EHLO, or ``None``."""
        if not self.usable(session):
            return None
        return self.keyword if isinstance(self.keyword, str) else self.keyword(session)


@dataclass(frozen=True, slots=True)
class _Honoured:
    name: str
    also: Callable[[Session], bool]

    def __call__(self, session: Session) -> bool:
        return self.name in session.delivery.honours and self.also(session)


def honoured(name: str, also: Callable[[Session], bool] = always) -> Callable[[Session], bool]:
    """For the extension *name*, which is of use only where the delivery does what it asks for, and *also* holds."""
    return _Honoured(name, also)


def _put_between(offers: Sequence[str | _Offer], made: Iterable[str | None]) -> tuple[str, ...]:
    """*offers*, with what is *made* of those that are no texts, if it is anything."""
    rest = iter(made)
    return tuple(line for each in offers if (line := each if isinstance(each, str) else next(rest)))


def _have_room(limits: Limits) -> bool:
    """Whether no line or plain argument that is remembered is too long by *limits*."""
    return limits.command_line >= RECURRING_LINE + len("\r\n") and limits.path.safe >= DEFAULT_LIMITS.safe


def _by_keyword(parameters: Iterable[Parameter[Any]]) -> Mapping[str, Parameter[Any]]:
    table: dict[str, Parameter[Any]] = {}
    for parameter in parameters:
        if parameter.keyword in table:
            raise ValueError(f"two extensions define the parameter {parameter.keyword}")
        table[parameter.keyword] = parameter
    return MappingProxyType(table)


class Registry:
    """The verbs and extensions of a server.

    :param verbs: the core verbs; an extension's verb of the same name takes its place.
    :param extensions: in the order in which the reply to EHLO lists them.
    :raises ValueError: two extensions define one verb or parameter, or one that an extension needs is missing.
    """

    def __init__(self, verbs: Iterable[Verb[Any]], extensions: Sequence[Extension] = ()) -> None:
        self.extensions = tuple(extensions)
        names = {extension.name for extension in self.extensions}
        for extension in self.extensions:
            if not names.issuperset(extension.needs):
                raise ValueError(f"extension {extension.name} needs {' and '.join(extension.needs)}")
        table = {verb.name: verb for verb in verbs}
        added = [verb for extension in self.extensions for verb in extension.verbs]
        if len({verb.name for verb in added}) < len(added):
            raise ValueError("two extensions define one verb: " + ", ".join(verb.name for verb in added))
        #: By verb, whether a session may use the extension that it is from.
        self._usable = {
            verb.name: each.usable for each in self.extensions for verb in each.verbs if verb.name not in table
        }
        table.update((verb.name, verb) for verb in added)
        #: By name. Not to be changed: this is looked at for each command, and a proxy would double what that takes.
        self.verbs: Mapping[str, Verb[Any]] = table
        #: Lines that were understood lately: the verb, its argument, and the value of that, where it is plain.
        self._lines: dict[bytes, tuple[Verb[Any], str, Any]] = {}
        self.mail_parameters = _by_keyword(p for e in self.extensions for p in e.mail_parameters)
        self.rcpt_parameters = _by_keyword(p for e in self.extensions for p in e.rcpt_parameters)
        changed = [e.reply_octets for e in self.extensions if e.reply_octets]
        self.reply_octets: Callable[[Reply], bytes] = changed[-1] if changed else attrgetter("basic_octets")
        self._parameters: Mapping[Phase | None, Mapping[str, Parameter[Any]]] = {
            Phase.MAIL: self.mail_parameters,
            Phase.RCPT: self.rcpt_parameters,
        }
        self._allowances = {
            verb.name: verb.octets
            + sum(parameter.octets for parameter in self._parameters.get(verb.phase, {}).values())
            for verb in table.values()
        }
        #: Deliveries are few, and what one honours does not change from one client to the next.
        self._offers = lru_cache(maxsize=64)(self._make_offers)
        #: The most that any verb adds to the length of a command line, in octets.
        self.greatest_allowance = max(self._allowances.values(), default=0)

    def remember(self, line: bytes, verb: Verb[Any], argument: str, limits: Limits) -> object:
        """*line* is *verb* with *argument*, and may come again, on this connection with *limits* or on another.

        :returns: the value of *argument*, if it is plain (`Parse`).
        """
        if len(line) > RECURRING_LINE or not _have_room(limits):
            return None
        if len(self._lines) >= REMEMBERED:
            self._lines.clear()
        parse, value = verb.parse, None
        if isinstance(parse, Parse) and len(argument) <= DEFAULT_LIMITS.safe and argument.isascii():
            with suppress(GrammarError):  # `full` says so, when it is the verb's turn
                value = parse.plain(argument)
        self._lines[line] = verb, argument, value
        return value

    def lines_within(self, limits: Limits) -> Mapping[bytes, tuple[Verb[Any], str, Any]]:
        """The lines that are remembered, for a connection with *limits*."""
        return self._lines if _have_room(limits) else {}

    def allowance(self, name: str) -> int:
        """Octets that the line of verb *name* may have beyond `Limits.command_line`."""
        return self._allowances.get(name, 0)

    def offers(self, name: str, session: Session) -> bool:
        """Whether there is an extension *name*, and *session* may use it."""
        return any(each.name == name and each.usable(session) for each in self.extensions)

    def keywords(self, session: Session) -> Sequence[str]:
        """The lines of the reply to EHLO behind the first."""
        offers, put_between = self._offers(frozenset(session.delivery.honours))
        return put_between(tuple([offer(session) for offer in offers]))

    def _make_offers(
        self, honours: frozenset[str]
    ) -> tuple[Sequence[_Offer], Callable[[tuple[str | None, ...]], Sequence[str]]]:
        """Where the delivery honours *honours*: those of the lines of the reply to EHLO that are made for each session,
        and what puts them between the others. They are nearly always the same, so that is remembered."""
        offers: list[str | _Offer] = []
        for each in self.extensions:
            usable = each.usable
            if isinstance(usable, _Honoured):
                if usable.name not in honours:
                    continue
                usable = usable.also
            offers.append(each.keyword if usable is always else each.offer)
        offers += [verb.keyword for verb in self.verbs.values() if verb.keyword]
        made = [each for each in offers if not isinstance(each, str)]
        return made, lru_cache(maxsize=64)(partial(_put_between, offers))

    def help(self, topic: str, session: Session) -> str | None:
        """The text of HELP for *session*, of all verbs where *topic* is empty; ``None`` for an unknown topic."""
        if not topic:
            names = [name for name in sorted(self.verbs) if self._may_use(self.verbs[name], session)]
            return "\n".join(["Verbs:", *_wrapped(names), "HELP verb tells more"])
        verb = self.verbs.get(topic.upper())
        if verb is None or not self._may_use(verb, session):
            return None
        usable = [each.keyword for each in self._parameters.get(verb.phase, {}).values() if each.usable(session)]
        return "\n".join([verb.syntax, verb.help, *(["Parameters:", *_wrapped(usable)] if usable else [])])

    def _may_use(self, verb: Verb[Any], session: Session) -> bool:
        return verb.usable(session) and self._usable.get(verb.name, always)(session)

    def table(self) -> str:
        """The verbs and extensions as a person reads them."""
        verbs = [("verb", "stages", "phase", "flags", "from", "syntax")]
        origin = {verb.name: extension.name for extension in self.extensions for verb in extension.verbs}
        for verb in self.verbs.values():
            stages = "any" if verb.stages == ANY_STAGE else " ".join(s.name for s in Stage if s & verb.stages)
            flags = " ".join(flag for flag in ("idle", "ends") if getattr(verb, flag))
            verbs.append(
                (verb.name, stages, verb.phase or "-", flags or "-", origin.get(verb.name, "core"), verb.syntax)
            )
        extensions = [("extension", "specified in", "MAIL parameters", "RCPT parameters")]
        for each in self.extensions:
            mail, rcpt = (" ".join(p.keyword for p in ps) or "-" for ps in (each.mail_parameters, each.rcpt_parameters))
            extensions.append((each.name, each.rfc or "-", mail, rcpt))
        return f"{_columns(verbs)}\n\n{_columns(extensions)}"


def _wrapped(words: Sequence[str], count: int = 8) -> list[str]:
    return ["  " + " ".join(words[n : n + count]) for n in range(0, len(words), count)]


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
