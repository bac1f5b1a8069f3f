"""RCPT (RFC 5321 section 4.1.1.3)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from twistsmtp.envelope import Recipient
from twistsmtp.later import Later, awaited, then
from twistsmtp.session import Phase, Session, Stage
from twistsmtp.verb import Outcome, Verb
from twistsmtp.verbs.parameters import read_parameters
from twistsmtp.wire.grammar import REMEMBERED, Mailbox, parse_forward_path
from twistsmtp.wire.reply import Refusal

__all__ = ["VERBS"]


@lru_cache(REMEMBERED)
def _bare(mailbox: Mailbox) -> Recipient:
    """The recipient of *mailbox*, without parameters."""
    return Recipient(mailbox=mailbox)


def _parse(session: Session, argument: str) -> Recipient:
    mailbox, rest = parse_forward_path(argument, session.limits.path)
    if not (argument.isascii() or mailbox.is_ascii or session.current.reverse_path.internationalized):
        raise Refusal(session.replies.smtputf8_needed)
    if not rest:
        return _bare(mailbox)
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
    return _taken(session, recipient, None) if answer is None else then(answer, partial(_taken, session, recipient))


def _taken(session: Session, recipient: Recipient, _: None) -> Outcome:
    session.add(recipient)
    return session.replies.recipient_ok


async def _redirected(session: Session, recipients: Sequence[Recipient]) -> Outcome:
    """Others have the mail in place of the recipient: all of them, or RCPT is refused."""
    delivery = session.current.delivery
    for recipient in recipients:
        await awaited(delivery.rcpt(recipient))
    session.add_together(recipients)
    return session.replies.recipient_ok


VERBS: tuple[Verb[Any], ...] = (
    Verb(
        name="RCPT",
        syntax="RCPT TO:<forward-path> [parameters]",
        help="Add a recipient to the message.",
        parse=_parse,
        run=_run,
        stages=Stage.MAIL | Stage.RCPT,
        phase=Phase.RCPT,
    ),
)
