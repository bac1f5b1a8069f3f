"""Several deliveries behind one: what `Tee` and `Route` share.

A message has a `Branch` for each delivery that it goes to, with the recipients that this one has. All are given the
octets, at the pace of the slowest, and are committed one after the other. This is the rule for verdicts:

* A recipient has the message when all branches that it is in have taken it for them; else what is said is the first
  temporary refusal among theirs, else the first refusal.
* LMTP has a reply for each recipient. A branch that fails fails for its recipients, and the others go on. A branch all
  of whose recipients are refused by others is not committed.
* SMTP has one reply for all. The first branch that refuses or fails, for any recipient, ends the message: its verdict
  is the verdict, and what is not committed yet is aborted. So when the first branch refuses, nothing has been kept.
  When a later one does, those before it have the message although the client was told that it was not taken: it may
  send it again, and they have it twice. Nothing is lost without the client's knowing. A `Route` that keeps the
  recipients of several branches apart does not let it come to that: see `twistsmtp.delivery.apart`.

A branch may be optional. Nobody hears of it when such a one refuses or fails, but the log.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistsmtp.delivery.api import (
    Checkable,
    Delivery,
    DeliveryTransaction,
    Envelope,
    Expander,
    Recipient,
    Refusal,
    Reloader,
    Reply,
    ReversePath,
    Session,
    Starter,
    Stopper,
    Verifier,
)
from twistsmtp.later import Later, awaited, drive
from twistsmtp.trace import received
from twistsmtp.wire.text import printable

__all__ = ["Branch", "Branches", "Several"]

_log = Logger()


# --- the deliveries -----------------------------------------------------------------------------------------


class Several(Delivery):
    """Deliveries that are one to the server.

    They are started, reloaded and stopped with it. It honours what all of them honour. Those of them that answer VRFY
    or EXPN are asked in their order, until one has an answer.
    """

    def __init__(self, deliveries: Iterable[Delivery]) -> None:
        #: Each of them once.
        self.deliveries = tuple(dict.fromkeys(deliveries))
        if not self.deliveries:
            raise ValueError("there is no delivery")
        #: Where only some of them want a Received field, these get it from us.
        self.wants_received = all(each.wants_received for each in self.deliveries)
        self.honours = frozenset.intersection(*(frozenset(each.honours) for each in self.deliveries))
        # It has the methods of `Verifier` and `Expander` if one of them has.
        if any(isinstance(each, Verifier) for each in self.deliveries):
            self.verify = self._verify
        if any(isinstance(each, Expander) for each in self.deliveries):
            self.expand = self._expand

    def check(self) -> None:
        """See whether all would start."""
        for each in self.deliveries:
            if isinstance(each, Checkable):
                each.check()

    def start(self) -> None:
        """Start those that are to be."""
        for each in self.deliveries:
            if isinstance(each, Starter):
                each.start()

    def reload(self) -> None:
        """Reload those that can be."""
        for each in self.deliveries:
            if isinstance(each, Reloader):
                try:
                    each.reload()
                except Exception:  # the others are to be read again all the same
                    _log.failure("a delivery could not be loaded again")

    async def stop(self) -> None:
        """Stop those that are to be, also where another one fails to."""
        stopping = [ensureDeferred(_stop(each)) for each in self.deliveries if isinstance(each, Stopper)]
        for stopped in stopping:
            await stopped

    def _verify(self, session: Session, text: str) -> Later[Sequence[str]]:
        return self._first(lambda each: each.verify(session, text), Verifier)

    def _expand(self, session: Session, text: str) -> Later[Sequence[str]]:
        return self._first(lambda each: each.expand(session, text), Expander)

    async def _first(self, ask: Callable[[Any], Later[Sequence[str]]], kind: type) -> Sequence[str]:
        refusal: Refusal | None = None
        for each in self.deliveries:
            if isinstance(each, kind):
                try:
                    found = await awaited(ask(each))
                except Refusal as error:
                    refusal = refusal or error
                else:
                    if found:
                        return found
        if refusal is not None:
            raise refusal
        return ()


async def _stop(delivery: Stopper) -> None:
    try:
        await awaited(delivery.stop())
    except Exception:
        _log.failure("a delivery failed to stop")


# --- one message --------------------------------------------------------------------------------------------


class Branch:
    """What one delivery has of a message.

    :param optional: whether the message is taken without it as well.
    """

    def __init__(self, delivery: Delivery, session: Session, reverse_path: ReversePath, *, optional: bool) -> None:
        self.optional = optional
        self._delivery = delivery
        self._session = session
        self._reverse_path = reverse_path
        self._transaction: DeliveryTransaction | None = None
        self._taken: list[Recipient] = []
        self._front = b""
        #: Which of the envelope's recipients are its own.
        self.own: list[int] = []
        #: Why it does not take the message, if that is known.
        self.refused: Reply | None = None

    async def begin(self) -> None:
        """MAIL."""
        self._transaction = await awaited(self._delivery.begin(self._session, self._reverse_path))

    async def rcpt(self, recipient: Recipient) -> None:
        """RCPT."""
        if self._transaction is None:
            await self.begin()
        await awaited(self._begun.rcpt(recipient))
        self._taken.append(recipient)

    @property
    def has_recipients(self) -> bool:
        """Whether it has taken any."""
        return bool(self._taken)

    def takes(self, recipient: Recipient) -> bool:
        """Whether it has taken *recipient*."""
        return recipient in self._taken

    async def open(self, envelope: Envelope, *, with_received: bool) -> None:
        """The message comes, for those of *envelope* that are its own.

        :param with_received: whether the delivery is to get a Received field from us.
        """
        recipients = tuple(envelope.recipients[index] for index in self.own)
        if len(self._taken) != len(recipients):  # two RCPT may say the same: to look for who is missing is not enough
            # Another one has refused a recipient that this one took, and may have told somebody about: begin anew.
            self.abort()
            self._taken.clear()
            for each in recipients:
                await self.rcpt(each)
        own = Envelope(envelope.id, envelope.reverse_path, recipients)
        if with_received and self._delivery.wants_received:
            self._front = received(self._session, own, time())
        await awaited(self._begun.open(own))

    def write(self, octets: bytes) -> Later[None]:
        """The next octets."""
        front, self._front = self._front, b""
        return self._begun.write(front + octets)

    async def commit(self) -> list[Reply] | None:
        """The message is whole.

        :returns: a reply for each recipient that is its own; ``None`` where the server's 250 is for all of them.
        """
        if self._front:  # an empty message
            await awaited(self.write(b""))
        answer = await awaited(self._begun.commit())
        self._transaction = None
        if answer is None:
            return None
        if isinstance(answer, Reply):
            return [answer] * len(self.own)
        if len(answer) != len(self.own):
            raise ValueError(f"{len(answer)} replies for {len(self.own)} recipients")
        return list(answer)

    def fail(self, failure: Failure) -> None:
        """It has failed, and others go on."""
        if isinstance(failure.value, Refusal):
            self.refused = failure.value.reply
            _log.info(
                "{id} {delivery} refused a message: {reply}",
                id=self._session.id,
                delivery=type(self._delivery).__name__,
                reply=printable(str(self.refused)),
            )
        else:
            self.refused = self._session.replies.local_error
            if not failure.check(CancelledError):
                text = "{id} {delivery} failed to take a message"
                _log.failure(text, failure, id=self._session.id, delivery=type(self._delivery).__name__)
        self.abort()

    @property
    def refusals(self) -> list[Reply]:
        """Why it does not take the message, for each recipient that is its own."""
        return [] if self.refused is None else [self.refused] * len(self.own)

    def abort(self) -> None:
        """Drop what it has of the message."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            try:
                transaction.abort()
            except Exception:  # the others are to be aborted all the same
                _log.failure("{id} the delivery failed to abort", id=self._session.id)

    @property
    def _begun(self) -> DeliveryTransaction:
        if self._transaction is None:
            raise LookupError("this branch has ended")
        return self._transaction


class Branches(DeliveryTransaction):
    """One message on its way to several deliveries."""

    def __init__(self, session: Session, *, with_received: bool) -> None:
        self._session = session
        self._with_received = with_received
        self.branches: list[Branch] = []

    async def open(self, envelope: Envelope) -> None:
        """Have those branches opened that have recipients."""
        self._envelope = envelope
        self.assign(envelope.recipients)
        for branch in self.branches:
            if not branch.own:
                branch.abort()
        self.branches = [branch for branch in self.branches if branch.own]
        for branch in self.branches:
            try:
                await branch.open(envelope, with_received=self._with_received)
            except Exception:
                self._failed(branch, Failure())

    def assign(self, recipients: Sequence[Recipient]) -> None:
        """Say which recipients each branch has."""
        raise NotImplementedError

    def write(self, octets: bytes) -> Deferred[None] | None:
        """Give *octets* to all branches. That has been done when the last of them has done it."""
        waiting: list[Deferred[None]] = []
        for branch in self.branches:
            if branch.refused is None:
                try:
                    answer = branch.write(octets)
                    pending = None if answer is None else drive(answer)
                except Exception:
                    failure = Failure()
                    if not self._goes_on_without(branch, failure):
                        for each in waiting:  # which nobody waits for any more
                            each.addErrback(lambda _: None)
                        raise
                    branch.fail(failure)
                    continue
                if isinstance(pending, Deferred):
                    waiting.append(pending.addErrback(partial(self._failed, branch)))
        return _all(waiting) if waiting else None

    async def commit(self) -> list[Reply] | None:
        """Commit the branches in their order, by the rule of this module."""
        accepted = self._session.replies.accepted.fill(id=self._envelope.id)
        verdicts = [accepted] * len(self._envelope.recipients)
        plain = True
        for branch in self.branches:  # what has been found out by now is not to be found out half-way
            if branch.refused is not None and not branch.optional:
                _merge(verdicts, branch.own, branch.refusals)
        for branch in self.branches:
            if branch.refused is not None or not any(verdicts[index].positive for index in branch.own):
                continue
            try:
                replies = await branch.commit()
            except Exception:
                self._failed(branch, Failure())
                replies = branch.refusals
            if replies is not None and not branch.optional:
                plain = False
                _merge(verdicts, branch.own, replies)
                if not self._session.lmtp:
                    _raise_refusal(verdicts)
        self.abort()
        return None if plain and all(each.positive for each in verdicts) else verdicts

    def abort(self) -> None:
        """Abort all branches that are not committed."""
        for branch in self.branches:
            branch.abort()

    def _failed(self, branch: Branch, failure: Failure) -> None:
        """A branch has failed.

        :raises Exception: what it failed with, if that ends the message.
        """
        if not self._goes_on_without(branch, failure):
            failure.raiseException()
        branch.fail(failure)

    def _goes_on_without(self, branch: Branch, failure: Failure) -> bool:
        if failure.check(CancelledError):  # nobody waits any more
            return False
        return branch.optional or (
            self._session.lmtp and any(each.refused is None for each in self.branches if each != branch)
        )


def _merge(verdicts: list[Reply], own: Sequence[int], replies: Sequence[Reply]) -> None:
    for index, reply in zip(own, replies, strict=True):
        verdicts[index] = _worse(verdicts[index], reply)


def _worse(first: Reply, second: Reply) -> Reply:
    return min(first, second, key=lambda reply: (not reply.temporary, reply.positive))


def _raise_refusal(verdicts: Sequence[Reply]) -> None:
    """Raise the verdict for all, if it is a refusal."""
    worst = min(verdicts, key=lambda reply: (not reply.temporary, reply.positive))
    if not worst.positive:
        raise Refusal(worst)


def _all(waiting: Sequence[Deferred[None]]) -> Deferred[None]:
    """A Deferred for all of *waiting*, for the first failure among them."""
    if len(waiting) == 1:
        return waiting[0]
    left = len(waiting)

    def cancel(_: object) -> None:
        for each in waiting:
            each.cancel()

    def done(_: None) -> None:
        nonlocal left
        left -= 1
        if not left and not answer.called:
            answer.callback(None)

    def failed(failure: Failure) -> None:
        if not answer.called:
            answer.errback(failure)

    answer: Deferred[None] = Deferred(cancel)
    for each in waiting:
        each.addCallbacks(done, failed)
    return answer
