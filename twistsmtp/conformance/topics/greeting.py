"""The greeting, and HELO and EHLO (RFC 5321 sections 3.1, 3.2, 4.1.1.1)."""

import re

from ..check import MUST, SHOULD, check
from ..talk import Failed, Skipped, Start, Talk, expect

__all__: list[str] = []

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
#: A domain, or an address literal, and what may stand behind it.
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[!-Z^-~]+\])(?: .*)?")
#: ehlo-line = ehlo-keyword *( SP ehlo-param )
_EHLO_LINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(?: [!-~]+)*")


@check("greeting.code", 5321, "3.1", MUST, start=Start.CONNECTED)
def code(talk: Talk) -> None:
    """The server greets first, with 220."""
    expect(talk.link.read(), "220", what="the connection")


@check("greeting.domain", 5321, "4.2", MUST, start=Start.CONNECTED)
def domain(talk: Talk) -> None:
    """The greeting begins with the server's domain or address literal."""
    reply = talk.link.read()
    if not _HOST.fullmatch(reply.lines[0] if reply.lines else ""):
        raise Failed(f"the greeting is {reply}")


@check("hello.ehlo", 5321, "4.1.1.1", MUST, start=Start.GREETED)
def ehlo(talk: Talk) -> None:
    """EHLO is answered by 250."""
    talk.ask(f"{talk.target.hello} {talk.name}", "250")


@check("hello.grammar", 5321, "4.1.1.1", MUST, start=Start.GREETED)
def grammar(talk: Talk) -> None:
    """The reply to EHLO is a domain, and then a keyword with its parameters on each line."""
    reply = talk.greet()
    if not _HOST.fullmatch(reply.lines[0]):
        raise Failed(f"the first line has no domain: {reply.lines[0]!r}")
    for line in reply.lines[1:]:
        if not _EHLO_LINE.fullmatch(line):
            raise Failed(f"no ehlo-line: {line!r}")


@check("hello.once", 5321, "4.1.1.1", SHOULD, start=Start.GREETED)
def once(talk: Talk) -> None:
    """No keyword is offered twice."""
    lines = [line.partition(" ")[0].upper() for line in talk.greet().lines[1:]]
    twice = sorted({line for line in lines if lines.count(line) > 1})
    if twice:
        raise Failed(f"twice: {', '.join(twice)}")


@check("hello.case", 5321, "2.4", MUST, start=Start.GREETED)
def case(talk: Talk) -> None:
    """EHLO is understood in lower case."""
    talk.ask(f"{talk.target.hello.lower()} {talk.name}", "250")


@check("hello.helo", 5321, "4.5.1", MUST, start=Start.GREETED, only="smtp")
def helo(talk: Talk) -> None:
    """HELO is answered by 250."""
    talk.ask("HELO client.example.com", "250")


@check("hello.helo-plain", 5321, "3.2", MUST, start=Start.GREETED, only="smtp")
def helo_plain(talk: Talk) -> None:
    """The reply to HELO offers no extensions."""
    reply = talk.ask("HELO client.example.com", "250")
    offered = [line for line in reply.lines[1:] if line.partition(" ")[0].upper() in _extensions(talk)]
    if offered:
        raise Failed(f"HELO was answered by {reply}")


def _extensions(talk: Talk) -> list[str]:
    talk.greet()
    return list(talk.keywords)


@check("hello.literal", 5321, "4.1.3", MUST, start=Start.GREETED)
def literal(talk: Talk) -> None:
    """EHLO takes an IPv4 address literal."""
    talk.ask(f"{talk.target.hello} [192.0.2.1]", "250")


@check("hello.literal-ipv6", 5321, "4.1.3", MUST, start=Start.GREETED)
def literal_ipv6(talk: Talk) -> None:
    """EHLO takes an IPv6 address literal."""
    talk.ask(f"{talk.target.hello} [IPv6:2001:db8::1]", "250")


@check("hello.argument", 5321, "4.1.1.1", SHOULD, start=Start.GREETED)
def argument(talk: Talk) -> None:
    """EHLO without a domain is answered by 501."""
    talk.ask(talk.target.hello, "501")


@check("hello.unverified", 5321, "4.1.4", MUST, start=Start.GREETED)
def unverified(talk: Talk) -> None:
    """A name in EHLO that is not in the DNS is no reason to refuse mail."""
    talk.greet("nowhere.invalid")
    if talk.target.always:
        talk.log_in()
    talk.begin()


@check("hello.again", 5321, "4.1.4", MUST, start=Start.RCPT)
def again(talk: Talk) -> None:
    """A second EHLO ends the transaction."""
    talk.ask(f"{talk.target.hello} {talk.name}", "250")
    talk.ask("DATA", "5")


@check("hello.bad-again", 5321, "4.1.4", MUST, start=Start.RCPT)
def bad_again(talk: Talk) -> None:
    """An EHLO that is refused changes nothing."""
    reply = talk.say(talk.target.hello)
    if not reply.is_one_of("5"):
        raise Skipped(f"{talk.target.hello} without a domain was answered by {reply}")
    talk.ask("DATA", "354")


@check("hello.offered", 5321, "4.2.4", MUST, start=Start.HELLO)
def offered(talk: Talk) -> None:
    """What EHLO offers is not answered by 500 or 502."""
    for keyword, command in (("HELP", "HELP"), ("VRFY", "VRFY postmaster"), ("EXPN", "EXPN postmaster")):
        if keyword in talk.keywords:
            reply = talk.say(command)
            if reply.is_one_of("500", "502"):
                raise Failed(f"EHLO offers {keyword}, and {command} was answered by {reply}")


@check("hello.all-offered", 5321, "4.1.1.1", MUST, start=Start.HELLO)
def all_offered(talk: Talk) -> None:
    """EHLO offers HELP and EXPN where they are answered by 2xx."""
    for keyword, command in (("HELP", "HELP"), ("EXPN", "EXPN postmaster")):
        if keyword not in talk.keywords and talk.say(command).is_one_of("2"):
            raise Failed(f"{command} is answered, and EHLO does not say so")
