"""BDAT: nothing in a chunk is a command, whatever becomes of the chunk (RFC 3030 section 2)."""

from functools import partial

from ..check import MUST, SECURITY, check
from ..link import Lost
from ..talk import END, Failed, Start, Talk, expect
from .chunking import bdat
from .smuggling import NO_ENDS

__all__: list[str] = []

_KEYWORD = ("CHUNKING",)
#: Seconds in which an answer comes if one does.
WAIT = 0.5


def _commands(talk: Talk) -> bytes:
    return f"RSET\r\n{talk.mail}\r\n{talk.rcpt}\r\nNOOP\r\n".encode()


@check("chunks.dot", 3030, "2", SECURITY, needs=_KEYWORD, start=Start.RCPT)
def dot(talk: Talk) -> None:
    """CRLF.CRLF in a chunk does not end it."""
    talk.link.send(bdat(b"Subject: conformance\r\n\r\ntext" + END + _commands(talk), True))
    reply = talk.alone("a chunk with CRLF.CRLF in it")
    if reply is not None:
        expect(reply, "250", what="a chunk with CRLF.CRLF in it")


@check("chunks.newlines", 3030, "2", SECURITY, needs=_KEYWORD, start=Start.RCPT)
def newlines(talk: Talk) -> None:
    """Nothing that looks like the end of a message ends a chunk."""
    commands = _commands(talk)
    octets = b"".join(b"text" + each + commands for each in NO_ENDS.values())
    talk.link.send(bdat(b"Subject: conformance\r\n\r\n" + octets, True))
    talk.alone("a chunk with commands in it")


@check("chunks.long-line", 3030, "2", SECURITY, needs=_KEYWORD, start=Start.RCPT)
def long_line(talk: Talk) -> None:
    """A long line in a chunk does not end it."""
    talk.link.send(bdat(b"Subject: conformance\r\n\r\n" + b"x" * 70000 + b"\r\n" + _commands(talk), True))
    talk.alone("a chunk with a long line in it")


def _swallowed(talk: Talk) -> None:
    octets = _commands(talk)
    talk.link.send(bdat(octets, True))
    reply = talk.alone("a chunk that is refused")
    if reply is not None:
        expect(reply, "5", what="a chunk out of order")


for _name, _start, _where in (
    ("hello", Start.HELLO, "without MAIL"),
    ("mail", Start.MAIL, "without RCPT"),
):
    check(
        f"chunks.refused-{_name}",
        3030,
        "2",
        SECURITY,
        needs=_KEYWORD,
        start=_start,
        says=f"The octets of a chunk that is refused {_where} are no commands",
        only="smtp",
    )(_swallowed)


@check("chunks.behind-last", 3030, "2", SECURITY, needs=_KEYWORD, start=Start.RCPT, only="smtp")
def behind_last(talk: Talk) -> None:
    """The octets of a chunk behind the last are no commands."""
    talk.link.send(bdat(b"Subject: conformance\r\n\r\ntext\r\n", True))
    expect(talk.link.read(), "250", what="the last chunk")
    _swallowed(talk)


@check("chunks.pipelined-refused", 3030, "2", SECURITY, needs=("CHUNKING", "PIPELINING"), start=Start.MAIL, only="smtp")
def pipelined_refused(talk: Talk) -> None:
    """Each chunk in the pipeline behind a recipient that is refused has one reply, and its octets are no commands."""
    octets = _commands(talk)
    talk.link.send(b"RCPT TO:\r\n" + bdat(octets) + bdat(octets) + bdat(octets, True))
    for place, reply in enumerate(talk.read(4)):
        expect(reply, "5", what=f"chunk {place}" if place else "RCPT")
    talk.silence("chunks that are refused")


def _huge(size: int, talk: Talk) -> None:
    # Were the size cut to 32 or 64 bits, the chunk would end behind the first line.
    talk.link.send(b"BDAT %d LAST\r\n" % size + b"xxx\r\n" + b"NOOP\r\n" * 3)
    while True:
        try:
            reply = talk.link.read(within=WAIT)
        except Lost:
            return
        if reply.is_one_of("2"):
            raise Failed(f"a chunk of {size} octets, of which 23 have come: there came {reply}")


for _bits in (32, 64):
    check(
        f"chunks.huge-{_bits}",
        3030,
        "2",
        SECURITY,
        needs=_KEYWORD,
        start=Start.RCPT,
        says=f"The size of a chunk is not cut to {_bits} bits",
    )(partial(_huge, 2**_bits + 5))


@check("chunks.negative", 3030, "2", MUST, needs=_KEYWORD, start=Start.RCPT)
def negative(talk: Talk) -> None:
    """A negative size of a chunk is refused."""
    talk.ask("BDAT -5 LAST", "5")
