"""What TLS there is (RFC 8314, RFC 8996)."""

import ssl

from ..check import MUST, SECURITY, check
from ..link import Link, Lost, Unreachable, old_tls_context
from ..replies import Reply
from ..talk import Failed, Skipped, Start, Talk
from ..target import Security

__all__: list[str] = []


@check("tls.greeting", 8314, "3.3", MUST, start=Start.CONNECTED)
def greeting(talk: Talk) -> None:
    """Under implicit TLS the greeting comes behind the handshake."""
    if talk.target.security is not Security.IMPLICIT:
        raise Skipped("there is no implicit TLS (--tls?)")
    reply: Reply = talk.link.read()
    if not (talk.link.encrypted and reply.code == 220):
        raise Failed(f"the connection was answered by {reply}")


@check("tls.old", 8996, "4", SECURITY, start=Start.CONNECTED)
def old(talk: Talk) -> None:
    """TLS 1.0 and TLS 1.1 are not spoken."""
    try:
        context = old_tls_context()
    except (ssl.SSLError, ValueError) as error:
        raise Skipped(f"this client cannot speak them: {error}") from None
    if talk.target.security is Security.IMPLICIT:
        try:
            link = Link(talk.target, context=context)
        except Unreachable:
            return
        link.close()
    else:
        talk.reach(Start.HELLO, clear=True)
        if "STARTTLS" not in talk.keywords:
            raise Skipped("STARTTLS is not offered")
        talk.ask("STARTTLS", "220")
        try:
            talk.link.encrypt(context)
        except Lost:
            return
    raise Failed("there was a handshake")
