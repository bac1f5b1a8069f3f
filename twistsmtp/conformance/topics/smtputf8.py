"""SMTPUTF8 (RFC 6531)."""

from ..check import MUST, SHOULD, check
from ..talk import Failed, Skipped, Talk, expect

__all__: list[str] = []

_KEYWORD = ("SMTPUTF8",)


@check("smtputf8.8bitmime", 6531, "3.1", MUST, needs=_KEYWORD)
def with_8bitmime(talk: Talk) -> None:
    """8BITMIME is offered beside SMTPUTF8, which has no parameter."""
    if "8BITMIME" not in talk.keywords:
        raise Failed("8BITMIME is not offered")
    if talk.keywords["SMTPUTF8"]:
        raise Failed(f"SMTPUTF8 is offered with {talk.keywords['SMTPUTF8']!r}")


@check("smtputf8.mailbox", 6531, "3.3", MUST, needs=_KEYWORD)
def mailbox(talk: Talk) -> None:
    """A mailbox in UTF-8 is taken, where MAIL has SMTPUTF8."""
    talk.ask(f"MAIL FROM:<usér@{talk.target.sender_domain}> SMTPUTF8", "250")


@check("smtputf8.domain", 6531, "3.3", MUST, needs=_KEYWORD)
def domain(talk: Talk) -> None:
    """A domain in UTF-8 is taken, where MAIL has SMTPUTF8."""
    command = "MAIL FROM:<user@exämple.com> SMTPUTF8"
    reply = talk.say(command)
    if reply.is_one_of("450", "451", "550", "554"):
        raise Skipped(f"{command} was answered by {reply}")
    expect(reply, "250", what=command)


@check("smtputf8.quoted", 6531, "3.3", MUST, needs=_KEYWORD)
def quoted(talk: Talk) -> None:
    """A quoted local-part may have UTF-8 in it."""
    talk.ask(f'MAIL FROM:<"usér näme"@{talk.target.sender_domain}> smtputf8', "250")


@check("smtputf8.value", 6531, "3.4", MUST, needs=_KEYWORD)
def value(talk: Talk) -> None:
    """SMTPUTF8 with a value is refused."""
    talk.ask(f"{talk.mail} SMTPUTF8=1", "5")


@check("smtputf8.not-utf8", 6531, "3.3", SHOULD, needs=_KEYWORD)
def not_utf8(talk: Talk) -> None:
    """What is not UTF-8 is refused, with SMTPUTF8 or without."""
    talk.ask(b"MAIL FROM:<us\xe9r@example.com> SMTPUTF8", "5")


@check("smtputf8.message", 6531, "3.2", MUST, needs=_KEYWORD)
def message(talk: Talk) -> None:
    """A message with UTF-8 in its header is taken."""
    talk.ask(f"{talk.mail} SMTPUTF8", "250")
    talk.ask(talk.rcpt, "25")
    expect(talk.message("Subject: prüfung\r\n\r\ntext".encode()), "250", what="the message")


@check("smtputf8.ascii-replies", 6531, "3.7.4.2", MUST, needs=_KEYWORD)
def ascii_replies(talk: Talk) -> None:
    """Replies are ASCII, where the client has not asked for more."""
    for command in ("VRFY usér", "MAIL FROM:<usér@example.com>", "RCPT TO:<usér@example.com>"):
        reply = talk.say(command)
        if not reply.octets.isascii():
            raise Failed(f"{command} was answered by {reply}")
