"""Mail handed to a program: a message on standard input, its envelope in the arguments and the environment.

The program is started when the message is whole, so it never sees a part of one. Its exit status is the verdict, as
sysexits.h has them. It runs in a session of its own: when its time is up, or the client has gone, all that it has
started ends with it.
"""

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from shutil import which
from string import Formatter
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.logger import Logger

from twistsmtp.delivery.apart import Apart
from twistsmtp.delivery.api import (
    Delivery,
    DeliveryTransaction,
    Envelope,
    Recipient,
    Refusal,
    Reply,
    ReversePath,
    Session,
)
from twistsmtp.delivery.process import OUTPUT_LIMIT, Run, leading
from twistsmtp.delivery.spool import InThread, LineFeeds, Spool, Threads
from twistsmtp.later import awaited
from twistsmtp.makers import number, yes_or_no
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.text import printable

__all__ = ["Program"]

#: Programs that run at once, and seconds that one may take.
AT_ONCE = 10
TIMEOUT = 300.0

#: Octets of a message's recipients that there is room for in the environment.
RECIPIENTS_LIMIT = 32 * 1024

#: Variables that programs have of the server's own.
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR")

_SENDER_NOT_TAKEN = Reply(553, "5.1.7", "A sender that begins with - is not taken here")
_RECIPIENT_NOT_TAKEN = Reply(553, "5.1.3", "A mailbox that begins with - is not taken here")

#: Exit statuses that refuse for good, but for EX_NOUSER. All others may be mended here: the client is to come again.
_REFUSALS = {
    os.EX_DATAERR: Reply(554, "5.6.0", "The message is not one that is taken here"),
    os.EX_NOHOST: Reply(550, "5.1.2", "There is no such domain"),
    os.EX_UNAVAILABLE: Reply(554, "5.3.0", "The message is not taken here"),
    os.EX_PROTOCOL: Reply(554, "5.5.0", "The message was refused further on"),
    os.EX_NOPERM: Reply(550, "5.7.1", "You may not send to this mailbox"),
}

_log = Logger()


@dataclass(frozen=True, slots=True)
class _Argument:
    """One argument of a command.

    :param text: may have placeholders.
    :param names: of these.
    :param first: the one that it begins with, or ``""``.
    """

    text: str
    names: frozenset[str]
    first: str
    #: Whether it is an option of one letter with the sender right behind it, which without one would take the next
    #: argument for its own.
    takes_sender: bool

    @classmethod
    def parse(cls, text: str) -> "_Argument":
        try:
            fields = list(Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from None
        names = [name for _, name, _, _ in fields if name is not None]
        for _, name, form, conversion in fields:
            if name is not None and (name not in _PLACEHOLDERS or form or conversion):
                known = ", ".join(f"{{{each}}}" for each in sorted(_PLACEHOLDERS))
                raise ValueError(f"{text}: the placeholders are {known}, not {{{name}}}")
        leading = fields[0] if fields else ("", None, None, None)
        first = leading[1] or "" if not leading[0] else ""
        return cls(text, frozenset(names), first, _GLUED.fullmatch(text) is not None)

    def exposes(self, values: dict[str, str]) -> bool:
        """Whether one of *values* would make an option of it."""
        return values.get(self.first, "").startswith("-")

    def fill(self, values: dict[str, str]) -> str:
        """It, with *values* in the place of placeholders."""
        if self.takes_sender and not values["sender"]:
            values = values | {"sender": "<>"}
        return self.text.format_map(values)


_GLUED = re.compile(r"-[^-]\{sender\}")
_OF_RECIPIENT = frozenset({"recipient", "local", "domain"})
_PLACEHOLDERS = _OF_RECIPIENT | {"sender", "client", "id"}


def _values_of(mailbox: Mailbox) -> dict[str, str]:
    return {"recipient": str(mailbox), "local": mailbox.local, "domain": mailbox.host}


class Program(Delivery):
    """Runs a program for each message.

    It has the message on standard input and nothing but what is said here in its environment: ``SENDER``,
    ``RECIPIENTS`` (one a line), ``RECIPIENT`` if there is but one, ``CLIENT_ADDRESS``, ``CLIENT_HELO``,
    ``SASL_USERNAME`` if the client has authenticated, ``SERVER_NAME``, ``MAIL_ID``, and of the server's own those of
    `PASSED_ON`. What it says goes to the log, never to a client.

    It exits with 0 for 250. ``EX_NOUSER`` (67) is 550 5.1.1, ``EX_DATAERR`` (65) 554 5.6.0, ``EX_NOHOST`` (68)
    550 5.1.2, ``EX_UNAVAILABLE`` (69) 554 5.3.0, ``EX_PROTOCOL`` (76) 554 5.5.0, ``EX_NOPERM`` (77) 550 5.7.1. Any
    other status, and a signal, is 451 4.3.0: the client is to come again.

    :param command: the program and its arguments, split as a shell does; but there is none. ``{sender}``,
        ``{recipient}``, its ``{local}`` and ``{domain}``, ``{client}`` and ``{id}`` are filled in. An argument with one
        of the recipient's is there once for each recipient. What would begin an argument with ``-`` is refused (553).
        The sender of the null reverse-path is empty, and ``<>`` behind an option of one letter: ``-f{sender}``.
    :param each: whether it is run for each recipient by itself, one after the other. Over SMTP, which has one reply for
        all, the first refusal ends it, and is that reply.
    :param apart: whether with *each* every recipient has the message by itself over SMTP (`twistsmtp.delivery.apart`).
    :param crlf: whether lines end with CRLF, as they came, instead of LF.
    :param timeout: seconds that it may take.
    :param at_once: how many run at one time; other messages wait.
    :param reactor: the global one if none is given.
    :param in_thread: what calls functions that block.
    :raises ValueError: the command cannot be read, or is empty; *apart* is there without *each*; or *at_once* is not
        positive.
    """

    def __init__(
        self,
        command: str,
        *,
        each: bool = False,
        apart: bool = False,
        crlf: bool = False,
        timeout: float = TIMEOUT,
        at_once: int = AT_ONCE,
        reactor: Any = None,
        in_thread: InThread | None = None,
    ) -> None:
        words = shlex.split(command)
        if not words:
            raise ValueError("there is no command")
        if at_once < 1:
            raise ValueError(f"at-once must be more than 0, not {at_once}")
        if apart and not each:
            raise ValueError("apart is of no use without each: one run has one verdict")
        self._name, *arguments = words
        self._arguments = [_Argument.parse(word) for word in arguments]
        self._each = each
        self._apart = apart
        self._crlf = crlf
        self._timeout = timeout
        self._turns = DeferredSemaphore(at_once)
        self._reactor = reactor
        self._in_thread = Threads(reactor) if in_thread is None else in_thread
        self._running: set[Run] = set()

    @classmethod
    def from_options(
        cls,
        command: str,
        *,
        each: str = "no",
        apart: str = "no",
        newline: str = "lf",
        timeout: str = f"{TIMEOUT:g}",
        at_once: str = str(AT_ONCE),
    ) -> "Program":
        """The delivery that ``program:COMMAND`` with these options names.

        :raises ValueError: as `Program` does, or an option is wrong.
        """
        if newline not in {"lf", "crlf"}:
            raise ValueError(f"newline is lf or crlf, not {newline!r}")
        if not (at_once.isascii() and at_once.isdigit()):
            raise ValueError(f"at_once is a number, not {at_once!r}")
        return cls(
            command,
            each=yes_or_no("each", each),
            apart=yes_or_no("apart", apart),
            crlf=newline == "crlf",
            timeout=number("timeout", timeout),
            at_once=int(at_once),
        )

    def start(self) -> None:
        """See that there is such a program.

        :raises ValueError: there is none, or it may not be run.
        """
        self.check()

    def check(self) -> None:
        """See `Checkable`."""
        if which(self._name) is None:
            raise ValueError(f"{self._name}: there is no such program")

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """Mail from anybody is taken whose address would not be an option of the program.

        :raises Refusal: it would.
        """
        if any(each.exposes({"sender": str(reverse_path)}) for each in self._arguments):
            raise Refusal(_SENDER_NOT_TAKEN)
        return _Transaction(self, session)

    def stop(self) -> Deferred[None]:
        """Wait for programs that are ending."""
        ending: list[Deferred[None]] = [each.gone for each in self._running]
        return DeferredList(ending).addCallback(lambda _: None)

    async def run(self, spool: Spool, session: Session, envelope: Envelope) -> Reply | None:
        """Run the program once.

        :param envelope: has the recipients that it is run for.
        :returns: why it did not take the message; ``None`` if it did.
        """
        await self._turns.acquire()
        try:
            standard_input = await spool.open()
            try:
                run = self._spawn(standard_input, session, envelope)
            finally:
                os.close(standard_input)
        except BaseException:
            self._turns.release()
            raise
        return _verdict(session, envelope.id, await run.ended, bytes(run.output))

    def _spawn(self, standard_input: int, session: Session, envelope: Envelope) -> Run:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        values = {"sender": str(envelope.reverse_path), "client": session.client, "id": envelope.id}
        command = [*leading(), self._name, *self._fill(values, envelope.recipients)]
        run = Run(self._reactor, self._timeout)
        self._reactor.spawnProcess(
            run,
            command[0],
            [os.fsencode(each) for each in command],
            env=_environment(session, envelope),
            childFDs={0: standard_input, 1: "r", 2: "r"},
        )
        self._running.add(run)
        run.gone.addCallback(self._gone, run)
        return run

    def _gone(self, _: None, run: Run) -> None:
        # Not before: a client that comes and goes does not have more programs run at once.
        self._running.discard(run)
        self._turns.release()

    def _fill(self, values: dict[str, str], recipients: Iterable[Recipient]) -> Iterator[str]:
        for each in self._arguments:
            if each.names & _OF_RECIPIENT:
                for recipient in recipients:
                    yield each.fill(values | _values_of(recipient.mailbox))
            else:
                yield each.fill(values)


class _Transaction(DeliveryTransaction):
    """One message on its way to a program."""

    def __init__(self, program: Program, session: Session) -> None:
        self._program = program
        self._session = session
        self._spool = Spool(session, program._in_thread)
        self._lines = LineFeeds()
        self._room = RECIPIENTS_LIMIT
        self._apart = Apart(session, wanted=program._apart)

    def rcpt(self, recipient: Recipient) -> None:
        """Take any mailbox that would not be an option of the program."""
        values = _values_of(recipient.mailbox)
        if any(each.exposes(values) for each in self._program._arguments):
            raise Refusal(_RECIPIENT_NOT_TAKEN)
        self._apart.check()
        if not self._program._each:
            self._room -= len(os.fsencode(values["recipient"])) + 1
            if self._room < 0:  # the client sends the message to the others by itself (RFC 5321 section 4.5.3.1.10)
                raise Refusal(self._session.replies.too_many_recipients)
        self._apart.taken()

    def open(self, envelope: Envelope) -> None:
        """Begin to keep the message."""
        self._envelope = envelope

    def write(self, octets: bytes) -> Deferred[None] | None:
        """Keep *octets*."""
        return self._spool.write(octets if self._program._crlf else self._lines.feed(octets))

    async def commit(self) -> list[Reply] | None:
        """Run the program, and wait for its verdict.

        :returns: verdicts, where each recipient has its own and LMTP has room for them.
        """
        await awaited(self._spool.write(self._lines.end()))
        accepted, verdicts = self._session.replies.accepted.fill(id=self._envelope.id), []
        for envelope in self._envelopes():
            refused = await self._program.run(self._spool, self._session, envelope)
            if refused is not None and not (self._session.lmtp and self._program._each):
                # Over SMTP this is the verdict for all: what the others are not given is not doubled.
                raise Refusal(refused)
            verdicts.append(refused or accepted)
        self._spool.close()
        return verdicts if any(not each.positive for each in verdicts) else None

    def abort(self) -> None:
        """Nothing of the message is left. A program that runs was told to end when `commit` was cancelled."""
        self._spool.close()

    def _envelopes(self) -> Sequence[Envelope]:
        id, reverse_path, recipients = self._envelope.id, self._envelope.reverse_path, self._envelope.recipients
        if not self._program._each:
            return [self._envelope]
        return [Envelope(id, reverse_path, (recipient,)) for recipient in recipients]


def _environment(session: Session, envelope: Envelope) -> dict[str, str]:
    recipients = [str(each) for each in envelope.recipients]
    values = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    values |= {
        "SENDER": str(envelope.reverse_path),
        "RECIPIENTS": "\n".join(recipients),
        "CLIENT_ADDRESS": session.client,
        "CLIENT_HELO": session.helo or "",
        "SERVER_NAME": session.hostname,
        "MAIL_ID": envelope.id,
    }
    if len(recipients) == 1:
        values["RECIPIENT"] = recipients[0]
    if session.identity is not None:
        values["SASL_USERNAME"] = session.identity
    return {name: value for name, value in values.items() if "\0" not in value}


def _verdict(session: Session, id: str, status: int | str, output: bytes) -> Reply | None:
    said = printable(" ".join(output.decode(errors="replace").split()), OUTPUT_LIMIT)
    if status == os.EX_OK:
        if said:
            _log.debug("{id} the program said: {said}", id=id, said=said)
        return None
    why = f"exit status {status}" if isinstance(status, int) else status
    _log.warn("{id} the program did not take a message ({why}): {said}", id=id, why=why, said=said or "-")
    if status == os.EX_NOUSER:
        return session.replies.mailbox_unknown
    return (
        _REFUSALS.get(status, session.replies.local_error) if isinstance(status, int) else session.replies.local_error
    )
