r"""The contract of a policy: one method for each phase of a session, each free to refuse.

Policies run in the order in which they are listed, before the verb does its work: a method that returns lets the
command pass on to the next one. A method may answer at once, with a Deferred, or be ``async def``. It may

* refuse or defer: raise `Refusal` with a 5xx or a 4xx;
* leave what it has learned in ``session.annotations`` for those behind it. These notes outlive STARTTLS, as what is
  known of the client's address does; what came of EHLO is to be written anew when EHLO comes again. ``session.notes``
  are those of one message;
* put a header field in front of the message: ``session.add_field("X-Spam-Score", "4.2")``;
* in the phase rcpt, have others get the mail: ``session.redirect(mailbox)``;
* have something done when the client has gone: ``session.at_end(function)``.

A policy that looks into messages says ``reads_message = True``: then a message is held until all policies have passed
it, and ``message`` finds it in ``session.message``::

    class NoPrograms(Policy):
        reads_message = True

        async def message(self, session, envelope):
            if b"\r\nTVqQAA" in session.message.open().read():  # MZ, in base64
                raise Refusal(Reply(550, "5.7.1", "No programs by mail, please"))

What else a method raises is a failure, as is an answer that takes longer than `Limits.answer_time`: it is logged, and
the command is deferred by 451, or passes, if ``on_failure`` is ``"pass"``. What it returns, now or later, is ``None``:
after anything else, as a reply that was not raised, the command is deferred, and that is logged.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistsmtp.envelope import Envelope, Recipient, ReversePath
from twistsmtp.later import Later, drive, is_later
from twistsmtp.session import Check, Checks, Phase, Session
from twistsmtp.wire.reply import Refusal

__all__ = ["Phase", "Policy", "checks_of"]

_log = Logger(namespace="twistsmtp.policy")


class Policy(Protocol):
    """Subclass this and write the phases that you care for; one that is not written costs nothing."""

    #: What becomes of a command when a method fails: it is deferred, or it passes.
    on_failure: Literal["defer", "pass"] = "defer"
    #: Whether the message is to be held until `message` has looked at it.
    reads_message: bool = False

    def connect(self, session: Session) -> Later[None]:
        """A client connected, and is not greeted yet. A refusal is the greeting, and ends the connection; its code is
        554, or 421 where it is for now, as a greeting has no others (RFC 5321 section 4.3.2)."""
        return None

    def hello(self, session: Session, name: str) -> Later[None]:
        """HELO or EHLO gave *name*."""
        return None

    def auth(self, session: Session, identity: str) -> Later[None]:
        """The client proved that it is *identity*."""
        return None

    def mail(self, session: Session, reverse_path: ReversePath) -> Later[None]:
        """MAIL asks for a transaction."""
        return None

    def rcpt(self, session: Session, recipient: Recipient) -> Later[None]:
        """RCPT adds *recipient* to the open transaction."""
        return None

    def data(self, session: Session, envelope: Envelope) -> Later[None]:
        """The message is about to come."""
        return None

    def message(self, session: Session, envelope: Envelope) -> Later[None]:
        """The message has come, whole and well-formed, and is about to be committed."""
        return None


def checks_of(policies: Sequence[Policy]) -> Checks:
    """What is asked at each phase of a session that *policies* hold for.

    :raises TypeError: one of them is none. It would be asked nothing, and refuse nobody.
    """
    for policy in policies:
        if isinstance(policy, type):
            raise TypeError(f"{policy.__qualname__} is a class: a policy is an instance of one")
        if not any(hasattr(policy, phase) for phase in Phase):
            raise TypeError(f"{policy!r} is no policy: it has no {', '.join(Phase)} (see twistsmtp.policy.api)")
    methods = {phase: tuple(_method(policy, phase) for policy in policies if _cares(policy, phase)) for phase in Phase}
    reads = any(getattr(policy, "reads_message", False) for policy in policies)
    return Checks({phase: each for phase, each in methods.items() if each}, reads_message=reads)


def _cares(policy: Policy, phase: Phase) -> bool:
    return getattr(type(policy), phase, None) not in (None, getattr(Policy, phase))


def _method(policy: Policy, phase: Phase) -> Check:
    method: Check = getattr(policy, phase)
    return partial(_unless_it_fails, method) if getattr(policy, "on_failure", "defer") == "pass" else method


def _unless_it_fails(method: Check, session: Session, *subject: object) -> Later[None]:
    """What *method* says, or nothing if it fails."""
    try:
        answer = method(session, *subject)
        driven = drive(answer) if is_later(answer) else answer
    except Refusal:
        raise
    except Exception:
        _passed(Failure(), session)
        return None
    return driven.addErrback(_passed, session) if isinstance(driven, Deferred) else driven


def _passed(failure: Failure, session: Session) -> None:
    # What is cancelled while the client is there has taken too long (`Limits.answer_time`).
    if failure.check(Refusal) or (session.over and failure.check(CancelledError)):
        failure.raiseException()
    _log.failure("{id} client={client} a policy failed: passed by", failure, id=session.id, client=session.client)
