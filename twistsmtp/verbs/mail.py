"""MAIL (RFC 5321 section 4.1.1.2)."""

from functools import partial
from typing import Any

from twistsmtp.delivery.api import DeliveryTransaction
from twistsmtp.envelope import ReversePath
from twistsmtp.later import Later, is_later, then
from twistsmtp.session import Phase, Session, Stage
from twistsmtp.verb import Close, Outcome, Parse, Verb
from twistsmtp.verbs.parameters import read_parameters
from twistsmtp.wire.grammar import parse_reverse_path
from twistsmtp.wire.reply import Refusal

__all__ = ["VERBS"]


def _plain(argument: str) -> ReversePath | None:
    """The path that is all of *argument*; ``None`` if parameters follow."""
    if not argument.endswith(">"):
        return None
    mailbox, rest = parse_reverse_path(argument)
    return None if rest else ReversePath(mailbox=mailbox)


def _parse(session: Session, argument: str) -> ReversePath:
    mailbox, rest = parse_reverse_path(argument, session.limits.path)
    known = session.dialect.mail_parameters if session.esmtp else {}
    options, values = read_parameters(session, "MAIL", rest, known)
    internationalized = any(known[keyword].internationalizes for keyword in values)
    if not (argument.isascii() or internationalized or mailbox is None or mailbox.is_ascii):
        raise Refusal(session.replies.smtputf8_needed)
    return ReversePath(mailbox=mailbox, options=options, parameters=values, internationalized=internationalized)


def _run(session: Session, reverse_path: ReversePath) -> Later[Outcome]:
    if session.counts.transactions >= session.limits.messages:
        return Close(session.replies.too_many_messages)

    answer = session.delivery.begin(session, reverse_path)
    if is_later(answer):
        return then(answer, partial(_begun, session, reverse_path))
    return _begun(session, reverse_path, answer)


def _begun(session: Session, reverse_path: ReversePath, delivery: DeliveryTransaction) -> Outcome:
    session.begin(reverse_path, delivery)
    if session.over:  # the client is gone, and the delivery had begun all the same
        session.reset()
    return session.replies.sender_ok


VERBS: tuple[Verb[Any], ...] = (
    Verb(
        name="MAIL",
        syntax="MAIL FROM:<reverse-path> [parameters]",
        help="Begin a message from a mailbox, or from <> where nothing is to come back.",
        parse=Parse(_plain, _parse),
        run=_run,
        stages=Stage.READY,
        recurs=True,
        phase=Phase.MAIL,
    ),
)
