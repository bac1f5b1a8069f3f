"""DATA (RFC 5321 section 4.1.1.4): the message on its way from the wire to the delivery.

What is wrong with a message is found while it comes, but said when it has ended: the octets that are left are read
and thrown away, as a client that was promised a 354 does not listen before its CRLF.CRLF is out.
"""

from collections.abc import Sequence
from functools import partial
from time import time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from twistsmtp.envelope import Envelope
from twistsmtp.events import exception_caught, message_ended
from twistsmtp.later import Later, drive, is_later, then
from twistsmtp.session import Phase, Session, Stage
from twistsmtp.trace import received
from twistsmtp.verb import Outcome, Verb
from twistsmtp.verbs.arguments import no_argument
from twistsmtp.wire.dotstream import DotStream
from twistsmtp.wire.hops import HopCount
from twistsmtp.wire.reply import Refusal, Reply
from twistsmtp.wire.text import printable

__all__ = ["VERBS", "MessageIntake"]


#: Octets, past twice the greatest message, that are read of one that is refused before the connection ends.
PATIENCE = 1024 * 1024 * 1024

_MESSAGE = Phase.MESSAGE


class MessageIntake:
    """The octets of one message, behind 354: an `Intake`."""

    __slots__ = ("_envelope", "_front", "_hops", "_refusal", "_session", "_stream", "_transaction", "reply", "waiting")

    def __init__(self, session: Session, envelope: Envelope) -> None:
        limits = session.limits
        self._session = session
        self._transaction = session.current
        self._transaction.opened = session.seconds()
        self._envelope = envelope
        self._stream = DotStream(limits.bare_newline, limits.message_line)
        self._hops = HopCount()
        #: What goes in front of the first octets.
        self._front = received(session, envelope, time()) if session.delivery.wants_received else b""
        #: Why the message will be refused; nothing more goes to the delivery then.
        self._refusal: Reply | None = None
        self.reply: Reply | None = session.replies.start_message
        self.waiting: Deferred[None] | None = None

    def feed(self, data: bytes, start: int) -> int:
        """Decode *data* from *start* on, and pass on what may go to the delivery."""
        stream, transaction, limits = self._stream, self._transaction, self._session.limits
        self.waiting = None
        octets, end = stream.feed(data, start)
        if not octets:
            return end
        transaction.octets += len(octets)
        if self._refusal is not None:
            if transaction.octets > 2 * limits.message_size + PATIENCE:
                raise Refusal(self._refusal)  # which ends the connection
            return end
        if (
            transaction.octets > limits.message_size
            or stream.bare_newline
            or stream.line_too_long
            or self._hops.feed(octets) >= limits.hops
        ):
            self._refuse(self._fault())
            return end
        if self._front:
            octets, self._front = self._front + octets, b""
        try:
            answer = transaction.delivery.write(octets)
            waiting = None if answer is None else drive(answer)
        except Exception as error:
            self._failed(Failure(error))
        else:
            if isinstance(waiting, Deferred):
                self.waiting = waiting.addErrback(self._failed)
        return end

    def _fault(self) -> Reply:
        """What is wrong with the message."""
        limits, replies = self._session.limits, self._session.replies
        if self._transaction.octets > limits.message_size:
            return replies.message_too_big.fill(limit=limits.message_size)
        if self._stream.bare_newline:
            return replies.bare_newline.fill(found=self._stream.bare_newline)
        if self._stream.line_too_long:
            return replies.message_line_too_long.fill(limit=limits.message_line)
        return replies.mail_loop.fill(hops=limits.hops)

    def end(self) -> Later[Outcome]:
        """The message is whole: commit it, or say what was wrong with it."""
        if self._refusal is not None:
            return self._ended(self._refusal)
        try:
            asked = self._session.ask(_MESSAGE, self._envelope)
            answer = self._commit(None) if asked is None else then(asked, self._commit)
            if answer is not None and is_later(answer):
                driven = drive(answer)
                if isinstance(driven, Deferred):
                    return driven.addCallback(self._committed).addErrback(self._not_committed)
                answer = driven
            return self._committed(answer)
        except Exception as error:
            return self._not_committed(Failure(error))

    def _commit(self, _: None) -> Later[Reply | Sequence[Reply] | None]:
        if self._session.over:  # and a policy took no notice
            raise CancelledError
        if self._front:  # an empty message
            return then(self._transaction.delivery.write(self._front), lambda _: self._transaction.delivery.commit())
        return self._transaction.delivery.commit()

    def _committed(self, answer: Reply | Sequence[Reply] | None) -> Reply:
        self._transaction.committed = True
        if answer is None:
            accepted = self._session.replies.accepted
            return self._ended(
                Reply(accepted.code, accepted.enhanced, accepted.text.replace("{id}", self._envelope.id))
            )
        if isinstance(answer, Reply):
            return self._ended(answer)
        if len(answer) != len(self._envelope.recipients):
            raise ValueError(f"{len(answer)} replies for {len(self._envelope.recipients)} recipients")
        return self._ended(_one_for_all(answer))

    def _not_committed(self, failure: Failure) -> Reply:
        self._failed(failure)
        return self._ended(self._refusal)

    def _failed(self, failure: Failure) -> None:
        """The delivery or a policy failed: in the way that it chose, or in one that nobody did."""
        if isinstance(failure.value, Refusal):
            self._refuse(failure.value.reply)
        elif self._refusal is None:
            reply = self._session.replies.local_error
            if not self._session.over:  # else it is the cancellation of what nobody waits for any more
                exception_caught(self._session, failure, str(reply))
            self._refuse(reply)

    def _refuse(self, reply: Reply) -> None:
        self._refusal = reply
        self._transaction.abort()

    def _ended(self, reply: Reply | None) -> Reply:
        reply = reply or self._session.replies.local_error
        if self._session.over:
            return reply  # the client is gone, and with it the whole transaction
        accepted = reply.code < 300
        self._session.counts.message(accepted=accepted)
        message_ended(self._session, self._transaction, "accepted" if accepted else printable(str(reply)))
        self._session.finish()
        return reply


def _one_for_all(replies: Sequence[Reply]) -> Reply:
    """SMTP has room for one reply: the first temporary one, else the first that refuses, else the first."""
    return min(replies, key=lambda reply: (not reply.temporary, reply.positive))


_no_argument = no_argument("DATA")


def _parse(session: Session, argument: str) -> Envelope:
    _no_argument(session, argument)
    return session.current.envelope()


def _run(session: Session, envelope: Envelope) -> Later[Outcome]:
    try:
        answer = session.current.delivery.open(envelope)
        if answer is None:
            return MessageIntake(session, envelope)
        outcome: Later[Outcome] = then(answer, partial(_opened, session, envelope))
    except Exception:
        session.reset()  # a delivery is asked to open a message once
        raise
    return outcome.addErrback(_not_opened, session) if isinstance(outcome, Deferred) else outcome


def _not_opened(failure: Failure, session: Session) -> Failure:
    session.reset()
    return failure


def _opened(session: Session, envelope: Envelope, _: None) -> Outcome:
    return MessageIntake(session, envelope)


VERBS: tuple[Verb[Any], ...] = (
    Verb(
        name="DATA",
        syntax="DATA",
        help="Send the message, ended by a line of a single dot.",
        parse=_parse,
        run=_run,
        stages=Stage.RCPT,
        phase=Phase.DATA,
    ),
)
