"""SIZE (RFC 1870)."""

from functools import partial

from ..check import MUST, SECURITY, SHOULD, check
from ..link import Silent
from ..replies import Reply
from ..talk import END, Failed, Skipped, Talk, expect

__all__: list[str] = []

_KEYWORD = ("SIZE",)
#: Octets of the longest message that is sent to pass a limit.
MOST = 40 * 1024 * 1024


def _limit(talk: Talk) -> int:
    text = talk.keywords["SIZE"]
    return int(text) if text.isdecimal() else 0


@check("size.parameter", 1870, "4", MUST, needs=_KEYWORD)
def parameter(talk: Talk) -> None:
    """The parameter of SIZE in EHLO is a number of up to 20 digits, if there is one."""
    text = talk.keywords["SIZE"]
    if text and not (text.isascii() and text.isdecimal() and len(text) <= 20):
        raise Failed(f"it is {text!r}")


@check("size.declared", 1870, "6.1", MUST, needs=_KEYWORD)
def declared(talk: Talk) -> None:
    """MAIL takes SIZE, in whatever case."""
    talk.ask(f"{talk.mail} SIZE=1000", "250")
    talk.ask("RSET", "250")
    talk.ask(f"{talk.mail} size=1000", "250")


@check("size.too-big", 1870, "6.1", SHOULD, needs=_KEYWORD)
def too_big(talk: Talk) -> None:
    """A declared size over the limit is answered by 552."""
    limit = _limit(talk)
    if not limit:
        raise Skipped("no limit is offered")
    talk.ask(f"{talk.mail} SIZE={limit + 1}", "552")


@check("size.twenty-digits", 1870, "4", MUST, needs=_KEYWORD)
def twenty_digits(talk: Talk) -> None:
    """A declared size of 20 digits is understood."""
    talk.ask(f"{talk.mail} SIZE={'9' * 20}", "250", "452", "552")


def _malformed(value: str, talk: Talk) -> None:
    talk.ask(f"{talk.mail} SIZE{value}", "5")


for _name, _value in (("word", "=many"), ("negative", "=-1"), ("empty", "="), ("none", ""), ("hex", "=0x10")):
    check(f"size.malformed-{_name}", 1870, "4", SHOULD, needs=_KEYWORD, says=f"SIZE{_value} is refused")(
        partial(_malformed, _value)
    )


@check("size.actual", 1870, "6.3", MUST, needs=_KEYWORD)
def actual(talk: Talk) -> None:
    """A message of the size that was declared is taken."""
    body = b"Subject: conformance\r\n\r\n.text"
    talk.ask(f"{talk.mail} SIZE={len(body) + 2}", "250")
    talk.ask(talk.rcpt, "25")
    expect(talk.message(body.replace(b"\n.", b"\n..")), "250", what="the message")


@check("size.no-end", 1870, "5", SECURITY, needs=_KEYWORD)
def no_end(talk: Talk) -> None:
    """The declared size does not end a message."""
    body = b"Subject: conformance\r\n\r\n"
    talk.ask(f"{talk.mail} SIZE={len(body)}", "250")
    talk.ask(talk.rcpt, "25")
    talk.ask("DATA", "354")
    talk.link.send(body + f"{talk.mail}\r\n{talk.rcpt}\r\nNOOP".encode() + END)
    talk.alone("a message that is longer than declared")


@check("size.exceeded", 1870, "6.3", SHOULD, needs=_KEYWORD)
def exceeded(talk: Talk) -> None:
    """A message over the limit is refused."""
    reply = _over(talk)
    if reply is not None:
        expect(reply, "4", "5", what="a message over the limit")


@check("size.exceeded-end", 1870, "6.3", SECURITY, needs=_KEYWORD)
def exceeded_end(talk: Talk) -> None:
    """What stands behind the limit in a message is not taken for commands."""
    try:
        _over(talk)
    except Silent as problem:
        raise Skipped(str(problem)) from None


def _over(talk: Talk) -> Reply | None:
    limit = _limit(talk)
    if not 0 < limit <= MOST:
        raise Skipped(f"the limit is {limit or 'not offered'}" + (f", over {MOST}" if limit else ""))
    talk.begin()
    talk.ask("DATA", "354")
    line = b"x" * 62 + b"\r\n"
    for _ in range(limit // (len(line) * 1024) + 1):
        talk.link.send(line * 1024)
    talk.link.send(f"NOOP\r\n{talk.mail}\r\n{talk.rcpt}\r\nNOOP".encode() + END)
    return talk.alone("a message over the limit")
