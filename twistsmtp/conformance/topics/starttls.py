"""STARTTLS (RFC 3207)."""

from ..check import MUST, SECURITY, SHOULD, check
from ..link import Link, Lost
from ..talk import Failed, Skipped, Start, Talk, expect

__all__: list[str] = []

_KEYWORD = ("STARTTLS",)
#: Seconds in which an answer comes if one does.
WAIT = 0.5
_INJECTED = b"EHLO injected.example.com\r\nMAIL FROM:<injected@example.com>\r\n"


def _begin(talk: Talk) -> None:
    talk.ask("STARTTLS", "220")
    talk.link.encrypt()


@check("starttls.begins", 3207, "4", MUST, needs=_KEYWORD, clear=True)
def begins(talk: Talk) -> None:
    """STARTTLS is answered by 220, and TLS begins."""
    _begin(talk)
    talk.ask(f"{talk.target.hello} {talk.name}", "250")


@check("starttls.once", 3207, "4.2", MUST, needs=_KEYWORD, clear=True)
def once(talk: Talk) -> None:
    """STARTTLS is not offered under TLS."""
    _begin(talk)
    talk.greet()
    if "STARTTLS" in talk.keywords:
        raise Failed("it is")


@check("starttls.twice", 3207, "4.2", MUST, needs=_KEYWORD, clear=True)
def twice(talk: Talk) -> None:
    """STARTTLS under TLS is refused."""
    _begin(talk)
    talk.greet()
    talk.ask("STARTTLS", "5")


@check("starttls.argument", 3207, "4", SHOULD, needs=_KEYWORD, clear=True)
def argument(talk: Talk) -> None:
    """STARTTLS with an argument is answered by 501."""
    talk.ask("STARTTLS now", "501")


@check("starttls.injected", 3207, "4.2", SECURITY, needs=_KEYWORD, clear=True)
def injected(talk: Talk) -> None:
    """What stands behind STARTTLS in the same segment is not carried out under TLS."""
    talk.link.send(b"STARTTLS\r\n" + _INJECTED)
    _judge(talk)


@check("starttls.injected-apart", 3207, "4.2", SECURITY, needs=_KEYWORD, clear=True)
def injected_apart(talk: Talk) -> None:
    """What comes in the next segment behind STARTTLS is not carried out under TLS."""
    talk.link.send_pieces(b"STARTTLS\r\n", _INJECTED)
    _judge(talk)


@check("starttls.injected-part", 3207, "4.2", SECURITY, needs=_KEYWORD, clear=True)
def injected_part(talk: Talk) -> None:
    """A piece of a command behind STARTTLS is not the beginning of the first one under TLS."""
    talk.link.send(b"STARTTLS\r\nNOOP ")
    if not _encrypted(talk):
        return
    reply = talk.say("FOOBAR")
    if reply.is_one_of("2"):
        raise Failed(f"FOOBAR was answered by {reply}: it was taken for NOOP FOOBAR")


@check("starttls.plain-behind", 3207, "4.2", SECURITY, needs=_KEYWORD, clear=True)
def plain_behind(talk: Talk) -> None:
    """Behind the 220, nothing in plain text is answered."""
    talk.ask("STARTTLS", "220")
    talk.link.send(b"NOOP\r\n" * 200)
    _no_answer(talk)


def _no_answer(talk: Talk, within: float = WAIT) -> None:
    """There is nothing in plain text that somebody could take for an answer to a command that was carried out."""
    try:
        reply = talk.link.read(within=within)
    except Lost:
        return
    if reply.is_one_of("2", "3"):
        raise Failed(f"what was sent in plain text was answered by {reply}")


def _judge(talk: Talk) -> None:
    if _encrypted(talk):
        talk.silence("plain text behind STARTTLS")


def _encrypted(talk: Talk) -> bool:
    """Whether TLS begins behind what was injected: to break off instead is as good."""
    reply = talk.link.read()
    if reply.code != 220:
        expect(reply, "4", "5", what="STARTTLS")
        return False
    _no_answer(talk, within=0.05)
    try:
        talk.link.encrypt()
    except Lost:
        return False
    return True


@check("starttls.forgets-hello", 3207, "4.2", MUST, needs=_KEYWORD, clear=True)
def forgets_hello(talk: Talk) -> None:
    """Under TLS, the server has forgotten EHLO."""
    if _needs_no_hello(talk):
        raise Skipped("the server takes MAIL without EHLO anyway")
    _begin(talk)
    talk.ask(talk.mail, "5")


def _needs_no_hello(talk: Talk) -> bool:
    """Whether MAIL is accepted on another connection where EHLO was not said."""
    link = Link(talk.target, clear=True)
    try:
        link.read()
        return Talk(talk.target, link).say(talk.mail).is_one_of("2")
    finally:
        link.close()


@check("starttls.forgets-mail", 3207, "4.2", SECURITY, needs=_KEYWORD, clear=True)
def forgets_mail(talk: Talk) -> None:
    """Under TLS, the server has forgotten a transaction that began before."""
    if not talk.say(talk.mail).is_one_of("250") or not talk.say(talk.rcpt).is_one_of("25"):
        raise Skipped("there is no transaction without TLS")
    if not talk.say("STARTTLS").is_one_of("220"):
        return
    talk.link.encrypt()  # and no EHLO, which would end a transaction by itself
    talk.ask(talk.rcpt, "5")
    talk.ask("DATA", "5")


@check("starttls.not-offered", 3207, "4.2", MUST, start=Start.HELLO)
def not_offered(talk: Talk) -> None:
    """STARTTLS is not offered on a connection with TLS."""
    if not talk.link.encrypted:
        raise Skipped("the connection has no TLS")
    if "STARTTLS" in talk.keywords:
        raise Failed("it is")
