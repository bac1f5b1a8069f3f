"""Octets to verbs and back.

The protocol knows no verb by name. It cuts commands out of what comes, looks each up in the registry, checks from
the table whether it is legal, and carries out what it answers. With `Connection` it holds these promises:

* One command at a time. While an answer is pending nothing else of the connection runs; what comes meanwhile is
  kept, up to a bound, and then the client is not read. A disconnect is noticed, and cancels what is pending.
* Replies go out in the order of their commands, those of one batch in one write. A client that does not read its
  replies is not read either.
* Only CRLF ends a command line, and a line over the limit is thrown away as it comes.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeGuard, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twistsmtp.connection import Connection
from twistsmtp.events import exception_caught
from twistsmtp.later import Later, drive, is_later, then
from twistsmtp.session import Phase, Session, Stage
from twistsmtp.verb import Ask, BeginTLS, Close, Intake, Outcome, Verb
from twistsmtp.wire.grammar import GrammarError, split_command
from twistsmtp.wire.reply import Refusal, Reply

__all__ = ["SMTPProtocol"]

A = TypeVar("A")

_CONNECT, _RCPT = Phase.CONNECT, Phase.RCPT

_NAME = re.compile(rb"[!-~]+")

#: Octets of a line without an end, over its limit, that are thrown away before the connection ends.
FLOOD = 1024 * 1024
#: Octets of the start of a line that tell which verb it is.
LONGEST_NAME = 32
#: Recipients past the limit that a transaction may ask for before each counts as an error.
SPARE_RECIPIENTS = 1000


class SMTPProtocol(Connection):
    """The server's side of one connection."""

    def greet(self) -> None:
        """Say the first word: the greeting, or a policy's refusal, which is the last word as well."""
        self._carry_out_of(lambda: then(self.session.ask(_CONNECT), self._receive))
        self.flush()

    def _receive(self, _: None) -> Later[Reply]:
        return then(self.factory.receive(self.session), self._welcome)

    def _welcome(self, _: None) -> Reply:
        self.greeted = True
        self._see_whether_ready()
        return self.factory.greeting

    # --- octets in --------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Carry out what was received, as far as that goes now, and send the replies."""
        if self._draining:
            self.drain()
        buffer, position, done = self._buffer, 0, 0
        while position < len(buffer) and self.ready:
            if self._intake is not None:
                done = position = self._feed(self._intake, buffer, position)
            else:
                end = buffer.find(b"\r\n", position)
                if end < 0:
                    position = self._unended(buffer, position)
                    break
                if self._overlong:
                    self._overlong = 0
                    self._carry_out_of(self._line_was_too_long)
                else:
                    self.lineReceived(buffer[position:end])
                done = position = end + 2
            if self._draining:
                self.drain()
            if self._buffer is not buffer:  # it was cleared: what came behind the command is not to be seen
                buffer, position = self._buffer, 0
        if done:
            self.last_heard = self.seconds()
        self._buffer = buffer[position:]
        self.flush()
        if self._half_closed and self.ready:
            self.transport.loseConnection()

    def _unended(self, buffer: bytes, position: int) -> int:
        """Look at a line that has no end yet; too long a one is thrown away as it comes, but for a last CR."""
        excess = len(buffer) - position
        if not self._overlong and excess < self.session.limits.command_line + self.factory.registry.greatest_allowance:
            return position
        if not self._overlong:
            self._overlong_verb = self._verb_of(buffer[position : position + LONGEST_NAME])
        keep = 1 if buffer.endswith(b"\r") else 0
        self._overlong += excess - keep
        if self._overlong > FLOOD:
            self.close(self.factory.replies.line_flood)
            return len(buffer)
        return len(buffer) - keep

    def _line_was_too_long(self) -> Later[Outcome]:
        asked, self._asked = self._asked, None
        if asked is not None:
            return asked.answer(None)
        verb = self._overlong_verb
        reply = self._too_long(verb)
        return reply if verb is None or verb.refused is None else verb.refused(self.session, "", reply)

    def _too_long(self, verb: Verb[Any] | None) -> Reply:
        return (
            self.factory.replies.line_too_long if verb is None or verb.too_long is None else verb.too_long(self.session)
        )

    def _feed(self, intake: Intake, buffer: bytes, position: int) -> int:
        try:
            end = intake.feed(buffer, position)
        except Exception as error:
            # Where the message ends is not known any more, so nothing behind it can be taken for a command.
            self._carry_out(Close(self._reply_to(error)))
            return len(buffer)
        if end >= 0:
            self._intake = None
        waiting = intake.waiting
        if waiting is not None and isinstance(drive(waiting), Deferred):
            self.wait_for(waiting)
            asked = self.seconds()
            waiting.addCallback(lambda _: self._fed(intake if end >= 0 else None, asked))
        elif end >= 0:
            self._carry_out_of(intake.end)
        return end if end >= 0 else len(buffer)

    def _fed(self, ended: Intake | None, asked: float) -> None:
        """What was fed has been worked on, and *ended* is the intake if that was all of it."""
        self.wait_for(None)
        if self._closing_since is None:
            since, octets = self._window  # the client is not to blame for time that the delivery took
            taken = self.seconds() - asked
            self._window = (since + taken, octets)
            self._intake_since += taken
            if self.session.transaction is not None:
                self.session.transaction.spared += taken
            if ended is not None:
                self._carry_out_of(ended.end)
            self.go_on()

    # --- commands --------------------------------------------------------------------------------------------

    def lineReceived(self, line: bytes) -> None:
        """One command line, without its CRLF."""
        if self._asked is not None:
            self._give_answer(self._asked, line)
            return
        session = self.session
        outcome: Later[Outcome]
        verb, argument = None, ""
        try:
            known = self._lines.get(line) or self._understand(line)
            if known is None:
                return
            verb, argument, value = known
            if not verb.stages & session.stage:
                raise Refusal(self._out_of_sequence(verb))
            if verb.idle:
                session.count_idle_command()
            if verb.phase is _RCPT:
                session.current.asked += 1
            if value is None:
                value = verb.parse(session, argument)
            if verb.phase is not None and verb.phase in session.checks:
                asked = session.ask(verb.phase, value)
                run = verb.run
                outcome = run(session, value) if asked is None else then(asked, partial(_run, verb, session, value))
            else:
                outcome = verb.run(session, value)
            if verb.refused is not None and is_later(outcome):
                outcome = self._now_or_refused(outcome, partial(verb.refused, session, argument))
        except Exception as error:
            outcome = self._refusal(verb or self._verb_of(line), argument, error)
        if type(outcome) is Reply and outcome.code < 400:  # what nearly every command is answered by
            self._out.append(self._reply_octets(outcome))
        else:
            self._carry_out(outcome)

    def _understand(self, line: bytes) -> tuple[Verb[Any], str, object] | None:
        """The verb of *line*, its argument, and the value of that where it is plain; ``None`` where there is no such
        verb, and the client has been told."""
        registry, limits = self.factory.registry, self.session.limits
        name, argument = split_command(line)
        verb = registry.verbs.get(name)
        if verb is None:
            self._unrecognized(name)
            return None
        room = limits.command_line - 2
        if len(line) > room and len(line) > room + registry.allowance(name):
            raise Refusal(self._too_long(verb))
        return verb, argument, registry.remember(line, verb, argument, limits) if verb.recurs else None

    def _refusal(self, verb: Verb[Any] | None, argument: str, error: Exception) -> Outcome:
        reply = self._reply_to(error)
        return reply if verb is None or verb.refused is None else verb.refused(self.session, argument, reply)

    def _now_or_refused(self, outcome: Later[Outcome], refused: Callable[[Reply], Outcome]) -> Later[Outcome]:
        driven = drive(outcome) if is_later(outcome) else outcome
        if isinstance(driven, Deferred):
            return driven.addErrback(lambda failure: refused(self._reply_to(failure)))
        return driven

    def _give_answer(self, asked: Ask, line: bytes) -> None:
        self._asked = None
        self._carry_out_of(partial(asked.answer, line if len(line) <= asked.limit - 2 else None))

    def _unrecognized(self, name: str) -> None:
        limits, replies, counts = self.session.limits, self.factory.replies, self.session.counts
        if name in limits.not_smtp:
            self.close(replies.not_smtp)
            return
        self._carry_out(replies.unrecognized)
        counts.unknown_commands += 1
        if counts.unknown_commands >= limits.unknown_commands:
            self.close(replies.too_many_unknown)

    def _out_of_sequence(self, verb: Verb[Any]) -> Reply:
        replies, stage = self.factory.replies, self.session.stage
        if stage == Stage.BARRED:
            return replies.tls_required if self.session.needs_tls else replies.authentication_required
        if stage > verb.stages & ~Stage.BARRED:
            return replies.transaction_open
        if stage == Stage.CONNECTED:
            return replies.hello_first
        if stage == Stage.READY:
            return replies.mail_first
        return replies.no_recipients if self.session.current.asked else replies.rcpt_first

    def said_goodbye(self) -> bool:
        """Whether a line that is kept is a verb that says that the client is done."""
        lines = self._buffer.split(b"\r\n")[:-1]
        verbs = [verb for verb in map(self._verb_of, lines) if verb is not None]
        if any(verb.ends for verb in verbs):
            return True
        if self._intake is None and not any(verb.refused for verb in verbs):
            return False
        # Octets that are no commands need not end with a line, so a verb may stand behind them in theirs.
        names = tuple(name.encode() for name, verb in self.factory.registry.verbs.items() if verb.ends)
        return bool(lines) and lines[-1].upper().endswith(names)

    def _verb_of(self, line: bytes) -> Verb[Any] | None:
        name = _NAME.match(line)
        return self.factory.registry.verbs.get(name[0].decode().upper()) if name else None

    # --- answers ---------------------------------------------------------------------------------------------

    def _carry_out_of(self, function: Callable[[], Later[Outcome]]) -> None:
        try:
            outcome = function()
        except Exception as error:
            outcome = self._reply_to(error)
        self._carry_out(outcome)

    def _carry_out(self, outcome: Later[Outcome]) -> None:
        if isinstance(outcome, Reply):
            self._say(outcome)
        elif _is_intake(outcome):
            self._take_in(outcome)
        elif is_later(outcome):
            try:
                driven = drive(outcome)
            except Exception as error:
                driven = self._reply_to(error)
            if isinstance(driven, Deferred):
                self.wait_for(driven)
                driven.addErrback(self._reply_to).addCallback(self._settled)
            else:
                self._carry_out(driven)
        elif isinstance(outcome, tuple):
            self._say_each(outcome)
        elif isinstance(outcome, Close):
            self.close(outcome.reply, linger=not outcome.reply.positive)
        elif isinstance(outcome, Ask):
            self._say_if_any(outcome.reply)
            self._asked = outcome
        elif isinstance(outcome, BeginTLS):
            self._say_if_any(outcome.reply)
            self.begin_tls(outcome.certificates)
        else:
            self._carry_out(self._reply_to(TypeError(f"not an outcome of a verb: {outcome!r}")))

    def _take_in(self, intake: Intake) -> None:
        self._say_if_any(intake.reply)
        self._intake = intake
        self._intake_since = self.last_heard
        self._window = (self.last_heard, self.octets_in)

    def _settled(self, outcome: Outcome) -> None:
        """The answer that was pending is there."""
        self.wait_for(None)
        if self._closing_since is None:
            self._carry_out(outcome)
            self.go_on()
        elif isinstance(outcome, Ask):
            self.abandon(outcome)

    def _reply_to(self, error: Exception | Failure) -> Reply:
        """What the client is told when something raised: the one place where exceptions become replies."""
        cause = error.value if isinstance(error, Failure) else error
        if isinstance(cause, Refusal):
            return cause.reply
        if isinstance(cause, GrammarError):
            return self.factory.replies.of_grammar(cause)
        reply = self.factory.replies.local_error
        if self._closing_since is None:  # else it is the cancellation of what nobody waits for any more
            exception_caught(self.session, error if isinstance(error, Failure) else Failure(error), str(reply))
        return reply

    def _excused(self, reply: Reply) -> bool:
        """Whether a refusal is no error: a recipient too many is none, as the client sends the message to those that
        were taken, and then again to the rest. Unless it asks for more than anybody has."""
        transaction = self.session.transaction
        if reply is not self.factory.replies.too_many_recipients or transaction is None:
            return False
        return transaction.asked <= self.session.limits.recipients + SPARE_RECIPIENTS

    def _say_if_any(self, reply: Reply | None) -> None:
        if reply is not None:
            self._say(reply)

    def _say(self, reply: Reply) -> None:
        if not self.greeted:
            self.close(_greeting(reply))
            return
        if reply.code == 421:  # RFC 5321 section 4.2.2: 421 says that the connection ends
            self.close(reply)
            return
        self._out.append(self._reply_octets(reply))
        if reply.code >= 400 and not self._excused(reply):
            self._count_error()

    def _say_each(self, replies: tuple[Reply, ...]) -> None:
        """What became of one message, a reply for each recipient: all are said, and are one error at the most."""
        *others, last = replies or (None,)
        self._out.extend(map(self._reply_octets, others))
        if last is None:
            return
        if any(reply.code == 421 for reply in replies):
            self.close(last)
            return
        self._out.append(self._reply_octets(last))
        if any(reply.code >= 400 for reply in replies):
            self._count_error()

    def _count_error(self) -> None:
        counts = self.session.counts
        counts.errors += 1
        counts.errors_in_a_row += 1
        if counts.errors_in_a_row >= self.session.limits.errors:
            self.close(self.factory.replies.too_many_errors)


def _is_intake(outcome: object) -> TypeGuard[Intake]:
    return hasattr(outcome, "feed")


def _greeting(refusal: Reply) -> Reply:
    """*refusal* as a greeting may have it: 554, or 421 where it is for now (RFC 5321 sections 3.1, 3.8 and 4.3.2)."""
    return replace(refusal, code=421 if refusal.code < 500 else 554)


def _run(verb: Verb[A], session: Session, value: A, _: None) -> Later[Outcome]:
    return verb.run(session, value)
