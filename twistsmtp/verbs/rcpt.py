"""RCPT (RFC 5321 section 4.1.1.3)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError

from twistsmtp.delivery.api import DeliveryTransaction
from twistsmtp.envelope import Recipient
from twistsmtp.later import Later, awaited, then
from twistsmtp.phases import no_refusal
from twistsmtp.session import Phase, Session, Stage
from twistsmtp.transaction import Transaction
from twistsmtp.verb import Outcome, Parse, Verb
from twistsmtp.verbs.parameters import read_parameters
from twistsmtp.wire.grammar import parse_forward_path
from twistsmtp.wire.reply import Refusal

__all__ = ["VERBS"]


def _plain(argument: str) -> Recipient | None:
    """The recipient who is all of *argument*; ``None`` if parameters follow."""
    if not argument.endswith(">"):
        return None
    mailbox, rest = parse_forward_path(argument)
    return None if rest else Recipient(mailbox=mailbox)


def _parse(session: Session, argument: str) -> Recipient:
    mailbox, rest = parse_forward_path(argument, session.limits.path)
    if not (argument.isascii() or mailbox.is_ascii or session.current.reverse_path.internationalized):
        raise Refusal(session.replies.smtputf8_needed)
    known = session.dialect.rcpt_parameters if session.esmtp else {}
    options, values = read_parameters(session, "RCPT", rest, known)
    return Recipient(mailbox=mailbox, options=options, parameters=values)


def _run(session: Session, recipient: Recipient) -> Later[Outcome]:
    transaction = session.current
    redirected, session.redirected = session.redirected, ()
    # The first counts those who stand for others, too, and hardly ever is as many.
    if len(transaction.recipients) >= session.limits.recipients <= transaction.accepted:
        raise Refusal(session.replies.too_many_recipients)
    if redirected:
        return _redirected(session, [replace(recipient, mailbox=mailbox) for mailbox in redirected])

    answer = transaction.delivery.rcpt(recipient)
    if answer is not None:
        return then(answer, partial(_taken, session, recipient))
    session.add(recipient)
    return session.replies.recipient_ok


def _taken(session: Session, recipient: Recipient, answer: None) -> Outcome:
    _check(answer)
    session.add(recipient)
    return session.replies.recipient_ok


def _check(answer: object) -> None:
    if answer is not None:
        raise no_refusal("rcpt() of a delivery", answer)


async def _redirected(session: Session, recipients: Sequence[Recipient]) -> Outcome:
    """Others have the mail in place of the recipient: all of them, or RCPT is refused and none has."""
    transaction = session.current
    for taken, recipient in enumerate(recipients):
        try:
            _check(await awaited(transaction.delivery.rcpt(recipient)))
        except Exception as error:
            if taken and not session.over:
                if isinstance(error, CancelledError):  # it took too long, and will not be waited for again
                    session.reset()
                else:
                    await _begin_anew(session, transaction)
            raise
    session.add_together(recipients)
    return session.replies.recipient_ok


async def _begin_anew(session: Session, transaction: Transaction) -> None:
    """Have the delivery forget whom it took for the RCPT that is refused: there is no other way to take one back.

    Where it does not take the others once more, the transaction has ended.
    """
    ended, transaction.delivery = transaction.delivery, _Ended()
    try:
        ended.abort()
        transaction.delivery = await awaited(session.delivery.begin(session, transaction.reverse_path))
        if session.transaction is not transaction:  # the client is gone, and the delivery has begun all the same
            transaction.delivery.abort()
            return
        for recipient in transaction.recipients:
            await awaited(transaction.delivery.rcpt(recipient))
    except Exception:
        if session.transaction is transaction:
            session.reset()
        raise


class _Ended(DeliveryTransaction):
    """Stands where there is none while another begins: there is nothing to abort."""


VERBS: tuple[Verb[Any], ...] = (
    Verb(
        name="RCPT",
        syntax="RCPT TO:<forward-path> [parameters]",
        help="Add a recipient to the message.",
        parse=Parse(_plain, _parse),
        run=_run,
        stages=Stage.MAIL | Stage.RCPT,
        recurs=True,
        phase=Phase.RCPT,
    ),
)
