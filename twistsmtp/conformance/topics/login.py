"""AUTH (RFC 4954): what needs an account."""

from ..check import MUST, SHOULD, check
from ..talk import Start, Talk, expect

__all__: list[str] = []


@check("login.accepted", 4954, "6", MUST, user=True)
def accepted(talk: Talk) -> None:
    """Credentials that are right are answered by 235."""
    # The connection has come so far that they were.
    talk.ask("NOOP", "250")


@check("login.twice", 4954, "4", MUST, user=True)
def twice(talk: Talk) -> None:
    """AUTH is answered by 503 where somebody has authenticated."""
    talk.ask("AUTH PLAIN", "503")


@check("login.parameter", 4954, "5", MUST, user=True)
def parameter(talk: Talk) -> None:
    """MAIL takes AUTH=<> and a mailbox in xtext."""
    for value in ("<>", "conformance+2Btest@example.com"):
        talk.ask(f"{talk.mail} AUTH={value}", "250")
        talk.ask("RSET", "250")


@check("login.bad-parameter", 4954, "5", SHOULD, user=True)
def bad_parameter(talk: Talk) -> None:
    """AUTH= with a value that is no xtext is refused."""
    talk.ask(f"{talk.mail} AUTH=a+ZZ", "5")


@check("login.long-parameter", 4954, "3", MUST, user=True)
def long_parameter(talk: Talk) -> None:
    """AUTH= makes the line of MAIL 500 octets longer."""
    value = "+61" * 64 + "@" + ".".join(["+62" * 60] + ["c" * 60] * 2)
    expect(talk.say(f"{talk.mail} AUTH={value}"), "250", what="MAIL with an AUTH= of 500 octets")


@check("login.rset", 4954, "4", MUST, user=True, start=Start.MAIL)
def rset(talk: Talk) -> None:
    """RSET, and another EHLO, do not end what AUTH began."""
    talk.ask("RSET", "250")
    talk.ask("AUTH PLAIN", "503")
    talk.greet()
    talk.ask("AUTH PLAIN", "503")
