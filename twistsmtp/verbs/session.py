"""The verbs that move no mail: RSET, NOOP, QUIT, HELP, VRFY and EXPN (RFC 5321 sections 4.1.1.5 to 4.1.1.10)."""

from collections.abc import Callable, Sequence
from typing import Any

from twistsmtp.delivery.api import Expander, Verifier
from twistsmtp.later import Later, awaited, then
from twistsmtp.policy.relay import RelayRule
from twistsmtp.policy.user import user_of
from twistsmtp.security import Audience
from twistsmtp.session import Phase, Session, Stage
from twistsmtp.verb import ANY_STAGE, Close, Outcome, Verb
from twistsmtp.verbs.arguments import any_text, needed, no_argument
from twistsmtp.wire.reply import Refusal, Reply

__all__ = ["VERBS"]

# To look a member up in an enumeration takes about as long as a call, and every EHLO asks.
_EVERYBODY, _USERS = Audience.EVERYBODY, Audience.USERS


def _rset(session: Session, _: None) -> Reply:
    session.reset()
    return session.replies.ok


def _quit(session: Session, _: None) -> Close:
    if session.transaction is not None:
        session.reset()
    return Close(session.replies.bye)


def _help(session: Session, topic: str) -> Reply:
    text = session.dialect.help(topic, session)
    if text is None:
        return session.replies.help_unknown
    help = session.replies.help
    return Reply(help.code, help.enhanced, text)


def _may_ask(session: Session) -> bool:
    """Whether the client may know which mailboxes there are. Most who ask want them for spam (RFC 5321 section 7.3)."""
    audience = session.security.verify
    return audience is _EVERYBODY or (audience is _USERS and user_of(session) is not None)


def _listed(session: Session, reply: Reply, *lines: str) -> Reply:
    """*reply* with these *lines*, if a reply has room for them: it is ASCII (RFC 6531 section 3.7.4.2)."""
    text = "\n".join(" ".join(each.split()) for each in lines)
    return Reply(reply.code, reply.enhanced, text) if text.isascii() else session.replies.not_ascii


def _string(verb: str) -> Callable[[Session, str], str]:
    """The argument of VRFY and EXPN, without the parameter for an answer in UTF-8 (RFC 6531 section 3.7.4.2)."""
    parse = needed(verb)

    def parse_string(session: Session, argument: str) -> str:
        text, _, last = parse(session, argument).rpartition(" ")
        parameter = session.dialect.mail_parameters.get(last.upper())
        return text.rstrip() if text and parameter and parameter.internationalizes else argument

    return parse_string


def _vrfy(session: Session, text: str) -> Later[Outcome]:
    if not (_may_ask(session) and isinstance(session.delivery, Verifier)):
        return session.replies.cannot_verify

    return _verified(session, text, session.delivery)


async def _verified(session: Session, text: str, delivery: Verifier) -> Outcome:
    replies = session.replies
    try:
        found = await awaited(delivery.verify(session, text))
    except Refusal as refusal:
        if refusal.reply == replies.mailbox_unknown and not _is_final(session, text):
            return replies.cannot_verify
        raise
    if len(found) > 1:
        return _listed(session, replies.ambiguous, replies.ambiguous.text, *found)
    return _listed(session, replies.verified, *found) if found else replies.cannot_verify


def _is_final(session: Session, text: str) -> bool:
    """Whether RCPT would say no as well where the delivery knows no mailbox *text*. A policy may give its mail to
    others, as aliases do; and of a domain that is not ours the delivery knows nothing."""
    for check in session.checks.get(Phase.RCPT, ()):
        rule = getattr(check, "__self__", None)
        if not isinstance(rule, RelayRule):
            return False
        if not rule.is_ours(text.removeprefix("<").removesuffix(">")):
            return False
    return True


def _expander(session: Session) -> Expander | None:
    """Who tells the client who is on a mailing list; ``None`` where nobody does."""
    return session.delivery if _may_ask(session) and isinstance(session.delivery, Expander) else None


def _expn(session: Session, text: str) -> Later[Outcome]:
    expander = _expander(session)
    if expander is None:
        raise Refusal(session.replies.not_implemented.fill(verb="EXPN"))

    def answer(members: Sequence[str]) -> Reply:
        if not members:
            raise Refusal(session.replies.mailbox_unknown)
        return _listed(session, session.replies.verified, *members)

    return then(expander.expand(session, text), answer)


VERBS: tuple[Verb[Any], ...] = (
    Verb(
        name="RSET",
        syntax="RSET",
        help="Give up the message that was begun.",
        parse=no_argument("RSET"),
        run=_rset,
        idle=True,
        recurs=True,
    ),
    Verb(
        name="NOOP",
        syntax="NOOP [text]",
        help="Do nothing.",
        parse=any_text,
        run=lambda session, _: session.replies.ok,
        idle=True,
    ),
    Verb(
        name="HELP",
        syntax="HELP [verb]",
        help="List the verbs, or tell about one.",
        # RFC 5321 section 4.1.1.1: EHLO lists all commands that section 4.5.1 does not have every server know.
        keyword="HELP",
        parse=any_text,
        run=_help,
        idle=True,
    ),
    Verb(
        name="VRFY",
        syntax="VRFY mailbox",
        help="Ask whether a mailbox exists.",
        keyword=lambda session: "VRFY" if _may_ask(session) and isinstance(session.delivery, Verifier) else None,
        parse=_string("VRFY mailbox"),
        run=_vrfy,
        stages=ANY_STAGE & ~Stage.BARRED,
        idle=True,
    ),
    Verb(
        name="EXPN",
        syntax="EXPN list",
        help="Ask who is on a mailing list.",
        usable=lambda session: _expander(session) is not None,
        keyword=lambda session: None if _expander(session) is None else "EXPN",
        parse=_string("EXPN list"),
        run=_expn,
        stages=ANY_STAGE & ~Stage.BARRED,
        idle=True,
    ),
    Verb(
        name="QUIT",
        syntax="QUIT",
        help="End the connection.",
        parse=no_argument("QUIT"),
        run=_quit,
        recurs=True,
        ends=True,
    ),
)
