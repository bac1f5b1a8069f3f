"""8BITMIME (RFC 6152)."""

from ..check import MUST, check
from ..talk import Skipped, Talk, expect

__all__: list[str] = []

_KEYWORD = ("8BITMIME",)


@check("8bitmime.body", 6152, "3", MUST, needs=_KEYWORD)
def body(talk: Talk) -> None:
    """MAIL takes BODY=8BITMIME and BODY=7BIT, in whatever case."""
    for value in ("BODY=8BITMIME", "BODY=7BIT", "body=8bitmime"):
        talk.ask(f"{talk.mail} {value}", "250")
        talk.ask("RSET", "250")


@check("8bitmime.unknown", 6152, "3", MUST, needs=_KEYWORD)
def unknown(talk: Talk) -> None:
    """Another value of BODY is refused."""
    talk.ask(f"{talk.mail} BODY=9BIT", "5")


@check("8bitmime.message", 6152, "3", MUST, needs=_KEYWORD)
def message(talk: Talk) -> None:
    """A message with octets of eight bits is taken."""
    talk.ask(f"{talk.mail} BODY=8BITMIME", "250")
    talk.ask(talk.rcpt, "25")
    octets = bytes(range(128, 256))
    expect(talk.message(b"Subject: conformance\r\nMIME-Version: 1.0\r\n\r\n" + octets), "250", what="the message")


@check("8bitmime.not-offered", 5321, "4.1.1.11", MUST)
def not_offered(talk: Talk) -> None:
    """BODY is answered by 555 where 8BITMIME is not offered."""
    if "8BITMIME" in talk.keywords:
        raise Skipped("8BITMIME is offered")
    talk.ask(f"{talk.mail} BODY=8BITMIME", "555")
