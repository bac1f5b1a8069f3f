"""HELO and EHLO (RFC 5321 section 4.1.1.1)."""

from functools import lru_cache, partial
from typing import Any

from twistsmtp.session import Phase, Session
from twistsmtp.verb import Parse, Verb
from twistsmtp.wire.grammar import GrammarError, parse_hello
from twistsmtp.wire.reply import Refusal, Reply

__all__ = ["VERBS", "extended_hello"]


def _parse(verb: str, session: Session, argument: str) -> str:
    try:
        return parse_hello(argument)
    except GrammarError:
        # RFC 2034 section 4: no reply to HELO or EHLO carries an enhanced code.
        raise Refusal(session.replies.hello_syntax.fill(verb=verb)) from None


def _helo(session: Session, name: str) -> Reply:
    session.hello(name, esmtp=False)
    return session.replies.hello.fill(hostname=session.hostname)


def _ehlo(session: Session, name: str) -> Reply:
    session.hello(name, esmtp=True)
    return _reply(session.replies.hello, session.hostname, *session.dialect.keywords(session))


@lru_cache(maxsize=64)
def _reply(hello: Reply, hostname: str, *keywords: str) -> Reply:
    """Nearly all clients are offered the same."""
    return Reply(hello.code, "", "\n".join([hello.fill(hostname=hostname).text, *keywords]))


def extended_hello(name: str) -> Verb[str]:
    """The verb *name*, which greets and is told the extensions."""
    return Verb(
        name=name,
        syntax=f"{name} domain",
        help="Greet the server and learn its extensions.",
        parse=Parse(parse_hello, partial(_parse, name)),
        run=_ehlo,
        idle=True,
        recurs=True,
        phase=Phase.HELLO,
    )


VERBS: tuple[Verb[Any], ...] = (
    extended_hello("EHLO"),
    Verb(
        name="HELO",
        syntax="HELO domain",
        help="Greet the server.",
        parse=Parse(parse_hello, partial(_parse, "HELO")),
        run=_helo,
        idle=True,
        recurs=True,
        phase=Phase.HELLO,
    ),
)
