"""A delivery and a policy that answer as a script has it: at once or later, well or badly."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import repeat
from typing import TypeVar, cast

from twisted.internet.defer import Deferred, maybeDeferred, succeed

from twistsmtp.delivery.api import Delivery, DeliveryTransaction, Envelope, Recipient, ReversePath
from twistsmtp.later import Later
from twistsmtp.policy.api import Policy
from twistsmtp.session import Session
from twistsmtp.wire.reply import Reply

__all__ = [
    "AT_ONCE",
    "LATER",
    "STEPS",
    "Answer",
    "How",
    "Script",
    "ScriptedDelivery",
    "ScriptedPolicy",
    "ScriptedTransaction",
]

T = TypeVar("T")


#: What a message's way asks a `ScriptedPolicy` and a `ScriptedDelivery`, in order.
STEPS = [
    "policy_connect",
    "policy_hello",
    "policy_mail",
    "begin",
    "policy_rcpt",
    "rcpt",
    "policy_data",
    "open",
    "write",
    "policy_message",
    "commit",
]


class How(Enum):
    """The ways in which a step can answer. The last three wait for `Script.release`."""

    PLAIN = auto()
    FIRED = auto()
    COROUTINE = auto()
    DEFERRED = auto()
    #: A Deferred that has fired already, and of which a callback waits for another Deferred.
    CHAINED = auto()
    AWAITING = auto()


AT_ONCE = (How.PLAIN, How.FIRED, How.COROUTINE)
LATER = (How.DEFERRED, How.CHAINED, How.AWAITING)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a step answers, and with what: an exception is raised, ``None`` stands for the step's own result."""

    how: How = How.PLAIN
    result: object = None


class Script:
    """The answers that steps give, in the order of their calls; a step that is not named answers plainly at once.

    :param others: how all calls that no answer is left for answer, in turns.
    :param answers: one answer for all calls of a step, or one for each call.
    """

    def __init__(self, *others: How, **answers: Answer | Sequence[Answer]) -> None:
        self._others = others or (How.PLAIN,)
        self._answers = {step: repeat(a) if isinstance(a, Answer) else iter(a) for step, a in answers.items()}
        #: The name of each step that was taken.
        self.calls: list[str] = []
        #: The steps that were taken while another waited. On one connection there must be none.
        self.overlaps: list[str] = []
        #: What waits to be released, with the name of its step.
        self.waiting: list[tuple[str, Deferred[None]]] = []

    def play(self, step: str, own: Callable[[], T]) -> Later[T]:
        """Take *step*, whose own result *own* makes when it is time to answer."""
        # Nobody waits for an abort.
        otherwise = Answer(How.PLAIN if step == "abort" else self._others[len(self.calls) % len(self._others)])
        self.calls.append(step)
        if self.waiting and step != "abort":
            self.overlaps.append(step)
        answer = next(self._answers.get(step, iter(())), otherwise)

        def result(_: object = None) -> T:
            if isinstance(answer.result, Exception):
                raise answer.result
            made = own()
            return made if answer.result is None else cast(T, answer.result)

        async def at_once() -> T:
            return result()

        async def awaiting() -> T:
            await self._wait(step)
            return result()

        match answer.how:
            case How.PLAIN:
                return result()
            case How.FIRED:
                return maybeDeferred(result)
            case How.COROUTINE:
                return at_once()
            case How.DEFERRED:
                return self._wait(step).addCallback(result)
            case How.CHAINED:
                return succeed(None).addCallback(lambda _: self._wait(step)).addCallback(result)
            case How.AWAITING:
                return awaiting()

    def _wait(self, step: str) -> Deferred[None]:
        waiting: Deferred[None] = Deferred(self._forget)
        self.waiting.append((step, waiting))
        return waiting

    def _forget(self, waiting: Deferred[None]) -> None:
        self.waiting = [each for each in self.waiting if each[1] is not waiting]

    def release(self, index: int = 0) -> str:
        """Have what waits answer, by default what has waited longest.

        :returns: the name of its step.
        """
        step, waiting = self.waiting.pop(index)
        waiting.callback(None)
        return step

    def release_all(self) -> list[str]:
        """Have all that waits answer, and all that comes to wait because of that."""
        return [self.release() for _ in iter(lambda: bool(self.waiting), False)]


class ScriptedTransaction(DeliveryTransaction):
    """One transaction of a `ScriptedDelivery`, and what became of it."""

    #: Once it is open.
    envelope: Envelope

    def __init__(self, script: Script, reverse_path: ReversePath) -> None:
        self._script = script
        self.reverse_path = reverse_path
        self.recipients: list[Recipient] = []
        self.chunks: list[bytes] = []
        #: How often the message was committed with an answer, and how often it was aborted.
        self.commits = 0
        self.aborts = 0

    @property
    def octets(self) -> bytes:
        """What was written."""
        return b"".join(self.chunks)

    @property
    def body(self) -> bytes:
        """The octets without the server's own Received field, which is folded."""
        return re.sub(rb"\AReceived: .*?; [^;\r\n]{,40}\r\n", b"", self.octets, count=1, flags=re.DOTALL)

    def rcpt(self, recipient: Recipient) -> Later[None]:
        return self._script.play("rcpt", lambda: self.recipients.append(recipient))

    def open(self, envelope: Envelope) -> Later[None]:
        self.envelope = envelope
        return self._script.play("open", lambda: None)

    def write(self, octets: bytes) -> Later[None]:
        self.chunks.append(octets)
        return self._script.play("write", lambda: None)

    def commit(self) -> Later[Reply | Sequence[Reply] | None]:
        return self._script.play("commit", self._commit)

    def _commit(self) -> None:
        self.commits += 1

    def abort(self) -> None:
        self.aborts += 1
        self._script.play("abort", lambda: None)


class ScriptedDelivery(Delivery):
    """Keeps every transaction that it began, and answers each step as its script has it."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.transactions: list[ScriptedTransaction] = []

    def begin(self, session: Session, reverse_path: ReversePath) -> Later[DeliveryTransaction]:
        return self.script.play("begin", lambda: self._begun(reverse_path))

    def _begun(self, reverse_path: ReversePath) -> ScriptedTransaction:
        self.transactions.append(ScriptedTransaction(self.script, reverse_path))
        return self.transactions[-1]

    @property
    def bodies(self) -> list[bytes]:
        """The messages that were committed, without the server's own Received field."""
        return [each.body for each in self.transactions if each.commits]


class ScriptedPolicy(Policy):
    """Asked in every phase. The script's step is ``policy_`` and the phase."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def connect(self, session: Session) -> Later[None]:
        return self.script.play("policy_connect", lambda: None)

    def hello(self, session: Session, name: str) -> Later[None]:
        return self.script.play("policy_hello", lambda: None)

    def mail(self, session: Session, reverse_path: ReversePath) -> Later[None]:
        return self.script.play("policy_mail", lambda: None)

    def rcpt(self, session: Session, recipient: Recipient) -> Later[None]:
        return self.script.play("policy_rcpt", lambda: None)

    def data(self, session: Session, envelope: Envelope) -> Later[None]:
        return self.script.play("policy_data", lambda: None)

    def message(self, session: Session, envelope: Envelope) -> Later[None]:
        return self.script.play("policy_message", lambda: None)
