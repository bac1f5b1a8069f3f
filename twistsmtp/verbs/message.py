"""A message on its way to the delivery, however its octets came: looked at, handed over, and answered.

What is wrong with a message is found while it comes, but said when it has ended: the octets that are left are thrown
away, as a client that was told to send does not listen before it has.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from time import time
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from twistsmtp.envelope import Envelope
from twistsmtp.events import exception_caught, message_ended
from twistsmtp.held import Held
from twistsmtp.later import Later, awaited, drive, is_later, then
from twistsmtp.phases import no_refusal
from twistsmtp.session import Phase, Session
from twistsmtp.trace import received
from twistsmtp.transaction import one_for_all
from twistsmtp.verb import Outcome
from twistsmtp.wire.hops import HopCount
from twistsmtp.wire.reply import Refusal, Reply
from twistsmtp.wire.text import printable

__all__ = ["PATIENCE", "Message", "open_message"]

M = TypeVar("M", bound="Message")

#: Octets, past twice the greatest message, that are read of one that is refused before the connection ends.
PATIENCE = 1024 * 1024 * 1024

_DATA, _MESSAGE = Phase.DATA, Phase.MESSAGE


def open_message(session: Session, envelope: Envelope, make: Callable[[Session, Envelope], M]) -> Later[M]:
    """Ask the delivery whether it takes a message; and *make* it.

    :raises Refusal: it does not, and the transaction has ended.
    """
    try:
        answer = session.current.delivery.open(envelope)
        if answer is None:
            return make(session, envelope)
        opened: Later[M] = then(answer, partial(_opened, session, envelope, make))
    except Exception:
        session.reset()  # a delivery is asked to open a message once
        raise
    return opened.addErrback(_not_opened, session) if isinstance(opened, Deferred) else opened


def _not_opened(failure: Failure, session: Session) -> Failure:
    session.reset()
    return failure


def _opened(session: Session, envelope: Envelope, make: Callable[[Session, Envelope], M], answer: None) -> M:
    _check(answer)
    return make(session, envelope)


def _check(answer: object) -> None:
    if answer is not None:
        raise no_refusal("open() of a delivery", answer)


class Message:
    """The octets of one message, decoded, from the first to the reply."""

    __slots__ = ("_envelope", "_front", "_hops", "_refusal", "_session", "_transaction", "waiting")

    def __init__(self, session: Session, envelope: Envelope) -> None:
        self._session = session
        self._transaction = transaction = session.current
        transaction.opened = session.seconds()
        self._envelope = envelope
        self._hops = HopCount()
        #: What goes in front of the first octets, behind the policies' fields; ``None`` when that is done.
        self._front: bytes | None = received(session, envelope, time()) if session.delivery.wants_received else b""
        if session.checks.reads_message:
            transaction.held = Held()
        #: Why the message will be refused; nothing more goes to the delivery then.
        self._refusal: Reply | None = None
        #: Set while the delivery works on what it was given; see `Intake`.
        self.waiting: Deferred[None] | None = None

    def open(self) -> Later[None]:
        """Ask the policies and the delivery whether they take a message whose octets come in any case: if not, it will
        be refused."""
        try:
            opened = then(self._session.ask(_DATA, self._envelope), self._open)
            waiting = drive(opened) if is_later(opened) else None
        except Exception as error:
            self._failed(Failure(error))
            return None
        return waiting.addErrback(self._failed) if isinstance(waiting, Deferred) else None

    def _open(self, _: None) -> Later[None]:
        if self._session.over:  # and a policy took no notice
            raise CancelledError
        return then(self._transaction.delivery.open(self._envelope), _check)

    def take(self, octets: bytes) -> None:
        """The next octets, any number but none: look at them, and hand them over if they may go on.

        :raises Refusal: there is no end of a message that is refused; the connection is to end.
        """
        transaction, limits = self._transaction, self._session.limits
        total = transaction.octets = transaction.octets + len(octets)
        if self._refusal is not None:
            if total > 2 * limits.message_size + PATIENCE:
                raise Refusal(self._refusal)
            return
        if total > limits.message_size:
            self.refuse(self._session.replies.message_too_big.fill(limit=limits.message_size))
            return
        if self._hops.feed(octets) >= limits.hops:
            self.refuse(self._session.replies.mail_loop.fill(hops=limits.hops))
            return
        try:
            if transaction.held is not None:
                transaction.held.write(octets)
                return
            if self._front is not None:
                octets = self._take_front() + octets
            answer = transaction.delivery.write(octets)
            waiting = None if answer is None else drive(answer)
        except Exception as error:
            self._failed(Failure(error))
        else:
            if waiting is not None and isinstance(waiting, Deferred):  # of what is none, that takes long to tell
                self.waiting = waiting.addErrback(self._failed)

    @property
    def refused(self) -> bool:
        """Whether it is known that the message will be refused."""
        return self._refusal is not None

    def refuse(self, reply: Reply) -> None:
        """The message will be refused by *reply*, if nothing was wrong with it before."""
        if self._refusal is None:
            self._refusal = reply
            self._transaction.abort()

    def end(self) -> Later[Outcome]:
        """The message is whole: commit it, or say what was wrong with it."""
        if self._refusal is not None:
            return self._ended(self._refusal)
        try:
            asked = self._session.ask(_MESSAGE, self._envelope) if _MESSAGE in self._session.checks else None
            answer = self._commit(None) if asked is None else then(asked, self._commit)
            if answer is not None and is_later(answer):
                driven = drive(answer)
                if isinstance(driven, Deferred):
                    ended: Deferred[Outcome] = driven.addCallback(self._committed)
                    return ended.addErrback(self._not_committed)
                answer = driven
            return self._committed(answer)
        except Exception as error:
            return self._not_committed(Failure(error))

    def _commit(self, _: None) -> Later[Reply | Sequence[Reply] | None]:
        if self._session.over:  # and a policy took no notice
            raise CancelledError
        delivery = self._transaction.delivery
        if self._transaction.held is not None:
            return self._hand_over(self._transaction.held)
        if self._front is None:
            return delivery.commit()
        front = self._take_front()
        return then(delivery.write(front), lambda _: delivery.commit()) if front else delivery.commit()

    async def _hand_over(self, held: Held) -> Reply | Sequence[Reply] | None:
        """The delivery gets what policies have read, and what they want in front of it."""
        delivery, front = self._transaction.delivery, self._take_front()
        for octets in held.pieces():
            await awaited(delivery.write(front + octets))
            front = b""
        if front:
            await awaited(delivery.write(front))
        self._transaction.let_go()
        return await awaited(delivery.commit())

    def _take_front(self) -> bytes:
        """What stands in front of the message, once."""
        front, self._front = self._front, None
        if front is None:
            return b""
        fields = self._session.fields
        return b"".join((*chain.from_iterable(fields.values()), front)) if fields else front

    def _committed(self, answer: Reply | Sequence[Reply] | None) -> Outcome:
        self._transaction.committed = True
        if answer is None:
            accepted = self._session.replies.accepted
            return self._ended(
                Reply(accepted.code, accepted.enhanced, accepted.text.replace("{id}", self._envelope.id))
            )
        if isinstance(answer, Reply):
            return self._ended(answer)
        if not isinstance(answer, Sequence):
            raise TypeError(f"a delivery has a Reply, one for each recipient, or None, not {type(answer).__name__}")
        if len(answer) != len(self._envelope.recipients):
            raise ValueError(f"{len(answer)} replies for {len(self._envelope.recipients)} recipients")
        answers = tuple(map(self._acknowledged, self._transaction.answers(answer)))
        ended = self._ended(one_for_all(answer))
        return answers if self._session.lmtp else ended

    def _not_committed(self, failure: Failure) -> Outcome:
        self._failed(failure)
        return self._ended(self._refusal)

    def _failed(self, failure: Failure) -> None:
        """The delivery or a policy failed: in the way that it chose, or in one that nobody did."""
        if isinstance(failure.value, Refusal):
            self.refuse(failure.value.reply)
        elif self._refusal is None:
            reply = self._session.replies.local_error
            if not self._session.over:  # else it is the cancellation of what nobody waits for any more
                exception_caught(self._session, failure, str(reply))
            self.refuse(reply)

    def _ended(self, reply: Reply | None) -> Outcome:
        reply = self._finish(reply or self._session.replies.local_error)
        # RFC 2033 section 4.2: LMTP has a reply for each recipient.
        return (reply,) * self._transaction.accepted if self._session.lmtp else reply

    def give_up(self) -> Reply:
        """What is wrong with a message that has not ended; it and its transaction are no more."""
        return self._finish(self._refusal or self._session.replies.local_error)

    def _acknowledged(self, reply: Reply) -> Reply:
        """What parameters of MAIL make of a *reply* that takes the message."""
        for keyword, value in self._envelope.reverse_path.parameters.items() if reply.code < 300 else ():
            taken = self._session.dialect.mail_parameters[keyword].taken
            if taken is not None:
                reply = taken(self._session, value, reply)
        return reply

    def _finish(self, reply: Reply) -> Reply:
        session = self._session
        if session.over:
            return reply  # the client is gone, and with it the whole transaction
        if self._envelope.reverse_path.parameters:
            reply = self._acknowledged(reply)
        accepted = reply.code < 300
        session.counts.message(accepted=accepted)
        message_ended(session, self._transaction, "accepted" if accepted else printable(str(reply)))
        session.finish()
        return reply
